/* offer.pml - how a node's newest session reaches a peer with which it has a pair: in an OFFER datagram inside ESP, over a
 * generation that both have; the API server's word is asked for where there is none. pair.pml shows what two ends do with
 * sessions that they know, whenever and in whatever order they come to know them; this one that they do.
 * s[i]: number of i's newest session, id[i]: its key (each that is made is another). store/sid[i]: what i has published last,
 * in an object that nobody watches. boot/bid[i]: in i's NodePeer, which all watch: the session of its last boot.
 * k/kid[i]: what i knows of its peer's newest session. led/lid[i]: the same, in the state file. rx[i]: generations installed
 * at i, a bit each (own number, peer's number). ack[i]: the own number that the peer's word has shown. air[i]: an OFFER of i; old[i]: a copy of one, on a longer way.
 * Faults: datagrams lost, doubled and late, agents killed, nodes rebooted, answers of the API server of long ago.
 * Mutants: NOFETCH  nothing is asked for    ANYOFFER a late OFFER counts as well
 *   NOKEEP    what was offered is not on disk  UNPUBLISHED offered before it is published
 *   ONCE      offered once, not until the peer's word shows it   EAGER the answer of the API server counts, however old
 * Safety: no number stands for two keys. At rest: both know the newest of the other, and the generation of these is installed. */
#ifndef RENEW
#define RENEW 2
#endif
#ifndef CRASH
#define CRASH 1
#endif
#ifndef REBOOT
#define REBOOT 1
#endif
#define M 5                         /* numbers 1..M-1 */
#define G(own,peer) (1<<((own)*M+(peer)))
byte s[2]=1, id[2], store[2]=1, sid[2], boot[2]=1, bid[2], k[2]=1, kid[2], led[2]=1, lid[2], ack[2]=1, air[2], aid[2],
  old[2], oid[2], ids=2;
int rx[2];
byte lost=1, twice=1, stale=1, renew=RENEW, crash=CRASH, reboot=REBOOT;
#ifdef ONCE
byte told[2]=1;
#endif
#define HAS(i,own,peer) ((rx[i]>>((own)*M+(peer)))&1)
/* a generation that both have: over it datagrams come and go */
#define BOTH(a,b) (HAS(0,a,b) && HAS(1,b,a))
#define ROW(a) (BOTH(a,1)||BOTH(a,2)||BOTH(a,3)||BOTH(a,4))
#define COMMON (ROW(1)||ROW(2)||ROW(3)||ROW(4))
/* i's newest session is in a generation of the peer's */
#define SHOWN(i) (HAS(1-i,1,s[i])||HAS(1-i,2,s[i])||HAS(1-i,3,s[i])||HAS(1-i,4,s[i]))
inline learn(i,n,x) { if :: (n)>k[i] -> k[i]=n; kid[i]=x :: else fi }
#ifdef ANYOFFER
#define take(i,n,x) k[i]=n; kid[i]=x
#else
#define take(i,n,x) learn(i,n,x)
#endif
proctype node(byte i) { byte j=1-i;
end:
  do
  :: atomic { renew>0 && s[i]<M-1 && COMMON && store[i]==s[i] -> renew--; s[i]++; id[i]=ids; ids++;
#ifndef UNPUBLISHED
       store[i]=s[i]; sid[i]=id[i]
#endif
     }
#ifdef UNPUBLISHED
  :: atomic { store[i]!=s[i] -> store[i]=s[i]; sid[i]=id[i] }
#endif
#ifdef ONCE
  :: atomic { COMMON && told[i]!=s[i] && air[i]==0 -> told[i]=s[i]; air[i]=s[i]; aid[i]=id[i] }
#else
  :: atomic { COMMON && ack[i]!=s[i] && air[i]==0 -> air[i]=s[i]; aid[i]=id[i] }
#endif
  :: atomic { lost>0 && air[i]!=0 -> lost--; air[i]=0 }
  :: atomic { twice>0 && air[i]!=0 && old[i]==0 -> twice--; old[i]=air[i]; oid[i]=aid[i] }
  :: atomic { air[j]!=0 -> if :: COMMON -> take(i,air[j],aid[j]) :: else fi; air[j]=0 }     /* an OFFER of the peer comes, */
  :: atomic { old[j]!=0 -> if :: COMMON -> take(i,old[j],oid[j]) :: else fi; old[j]=0 }     /* if anything decrypts it */
  :: atomic { COMMON && SHOWN(i) && ack[i]!=s[i] -> ack[i]=s[i] }
  :: atomic { k[i]<boot[j] -> k[i]=boot[j]; kid[i]=bid[j] }              /* the NodePeer, which is watched */
#ifndef NOFETCH
  :: atomic { !COMMON && k[i]<store[j] -> k[i]=store[j]; kid[i]=sid[j] }
#endif
  :: atomic { stale>0 && !COMMON && k[i]!=boot[j] -> stale--;            /* what the API server had long ago */
#ifdef EAGER
       k[i]=boot[j]; kid[i]=bid[j]
#else
       learn(i,boot[j],bid[j])
#endif
     }
  :: atomic { k[i]>=boot[j] && !HAS(i,s[i],k[i]) -> led[i]=k[i]; lid[i]=kid[i]; rx[i]=rx[i]|G(s[i],k[i]) }
  :: atomic { HAS(i,s[i],k[i]) && HAS(j,k[i],s[i]) && rx[i]!=G(s[i],k[i]) -> rx[i]=G(s[i],k[i]) }
  :: atomic { crash>0 -> crash--; ack[i]=0;
#ifdef NOKEEP
       k[i]=boot[j]; kid[i]=bid[j]
#else
       k[i]=led[i]; kid[i]=lid[i]
#endif
     }
  :: atomic { reboot>0 && store[i]<M-1 -> reboot--; rx[i]=0; s[i]=store[i]+1; id[i]=ids; ids++; store[i]=s[i]; sid[i]=id[i];
       boot[i]=s[i]; bid[i]=id[i]; k[i]=boot[j]; kid[i]=bid[j]; led[i]=k[i]; lid[i]=kid[i]; ack[i]=0; air[i]=0; air[j]=0 }
  od }
proctype mon() { timeout;
  assert(k[0]==s[1] && k[1]==s[0]);
  assert(kid[0]==id[1] && kid[1]==id[0]);
  assert(HAS(0,s[0],s[1]) && HAS(1,s[1],s[0])) }
init { atomic { id[1]=1; sid[1]=1; bid[1]=1; kid[0]=1; lid[0]=1; rx[0]=G(1,1); rx[1]=G(1,1);
  run node(0); run node(1); run mon() } }
