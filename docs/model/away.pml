/* away.pml - a node leaves while its peer is down, and perhaps joins again; the peer comes back and knows what its disk says.
 * Node 0 = P, the peer; node 1 = L, the one that leaves. obj = what the API says of L: ACT, LEAV, GONE (a NodePeer "Removed"),
 * JOIN (labelled again: another nodeID, session numbers from 1 again), AGAIN (Active again). v = what P has seen of it, 9 nothing.
 * Generations: 1 (L before, P before its reboot), 2 (L before, P after it), 3 and 4 (L after, the same). out: 0 plaintext, 1..4 ESP,
 * BLK. kn = the identity of L that P's pair is of, mk = the one on disk (0 none, 1 before, 2 after). fe/fp = in flight. Messages
 * are sets (lost, repeated, late). P's agent may be away with its kernel alive (CRASH), or P off (REBOOT); either for good (lost).
 * rdy = P's Node is Ready in the API; it may be wrong both ways (KUBELET). mute = P is back, nothing of it was heard yet.
 * AWAY of L: P's Node is not Ready, and P silent for six drains: nothing is waited for. Mutants:
 * NOAWAY    L waits for words of a peer that is down                     SILENCE   L goes by silence alone (words that were lost)
 * DOWNONLY  L goes by "not Ready" alone                                  NOSTONE   the controller takes the object away and says nothing
 * ABSENCE   P takes an object that is missing for a removal              UIDONLY   P takes "Removed" for whoever is there now
 * FRESH     P takes the one that joined again for a new pair, in clear   NOFORMER  SAs of before hold the place of the one of now
 * I1 nothing is lost while P was not away (slept). I2 an end that encrypted sends plaintext only after the word of the API.
 * End: L is done whatever P does; P, once back, has nothing of L, or both are Active on one generation, each with it on disk. */
#ifndef CRASH
#define CRASH 1
#endif
#ifndef REBOOT
#define REBOOT 1
#endif
#ifndef KUBELET
#define KUBELET 1
#endif
#define ACT 0
#define LEAV 1
#define GONE 2
#define JOIN 3
#define AGAIN 4
#define NOTHING 9
#define BLK 5
#define B(g) (1<<(g))
#define OLD 6                            /* generations 1 and 2 */
byte obj=ACT, v=ACT, vl=ACT; bit again, newp, done;
bit up[2], rdy=1, mute, lost, slept;
byte cur=1, pub=1, kp=1;                 /* P's session: own, published, as L knows it */
byte kn=1, mk=1; bit ml=1;               /* P's disk, L's disk */
byte out[2], rx[2], tx[2], led[2], fe[2];
bit fp[2], req[2], rep[2], mr[2], ms[2], ma[2];
byte crash=CRASH, reboot=REBOOT, kub=KUBELET; byte enc=1; bit encl=1;   /* enc: with which identity P encrypted and may not stop */
#define ESP(i) (out[i]>0 && out[i]<BLK)
#define ONE(s,r) (slept || (((fe[s]&~rx[r])==0) && !(fp[s]&&req[r]) && out[s]!=BLK))
#define CHK assert(ONE(0,1)); assert(ONE(1,0)); assert( (!ESP(0)||(tx[0]&B(out[0]))) && (!ESP(1)||(tx[1]&B(out[1]))) && !(out[0]==0&&enc) && !(out[1]==0&&encl))
#define AIM0 (kn==1 -> (v==ACT||v==LEAV -> cur : 0) : (kn==2 && newp && v>=JOIN && v!=NOTHING -> 2+cur : 0))
#define AIM1 (vl==ACT||vl==LEAV -> (done -> 0 : kp) : (vl>=JOIN && vl!=NOTHING && kp -> 2+kp : 0))
#define AIM(i) ((i)==0 -> AIM0 : AIM1)
#define LEAVES(i) ((i)==0 -> v==LEAV && kn==1 : vl==LEAV && !done)
#define CALLS(i) ((i)==0 -> v>=JOIN && v!=NOTHING && kn==2 : vl>=JOIN && vl!=NOTHING)   /* joining or Active (again) */
#define SPEAKS(i) if :: i==0 -> mute=0 :: else fi

#ifdef NOFORMER
#define FREE(i) ((i)==1 || kn!=2 || !(rx[0]&OLD))
#else
#define FREE(i) 1
#endif

proctype node(byte i) { byte j=1-i; byte g;
end:
  do
  /* leaving, by words: mr "accepts plaintext", ms "sends plaintext", ma "has the other's ms" */
  :: atomic { up[i] && LEAVES(i) && req[i] -> req[i]=0 }
  :: atomic { up[i] && LEAVES(i) && !req[i] && tx[i] && !mr[i] -> mr[i]=1; SPEAKS(i) }
  :: atomic { up[i] && LEAVES(i) && !req[i] && mr[j] && rx[i] && out[i]!=0 -> out[i]=0; fp[i]=1; CHK }
  :: atomic { up[i] && LEAVES(i) && out[i]==0 && tx[i] && !ms[i] -> ms[i]=1; SPEAKS(i) }
  :: atomic { up[i] && LEAVES(i) && ms[i] && ms[j] && rx[i] && tx[i] && !ma[i] -> ma[i]=1; SPEAKS(i) }
  /* install; a probe and its answer, in one step here (join.pml has them apart); switch */
  :: atomic { up[i] && AIM(i) && !(led[i]&B(AIM(i))) && FREE(i) ->
       g=AIM(i); led[i]=led[i]|B(g); rx[i]=rx[i]|B(g); tx[i]=tx[i]|B(g); g=0 }
  :: atomic { up[i] && AIM(i) && out[i]!=AIM(i) && up[j] && (tx[i]&rx[j]&tx[j]&rx[i]&B(AIM(i))) && !(LEAVES(i) && out[i]==0) ->
       out[i]=AIM(i); fe[i]=fe[i]|B(out[i]); mute=0;
       if :: i==0 -> enc=(out[0]>2 -> 2 : (v==LEAV -> 0 : 1)) :: else -> encl=(vl!=LEAV) fi; CHK }
  /* joining again: require on the peer's word, a drain later; disk; report; both Active: block */
  :: atomic { up[i] && CALLS(i) && !req[i] && up[j] && ESP(j) && out[j]>2 && (rx[i]&B(out[j])) -> fp[j]=0; req[i]=1; CHK }
  :: atomic { i==0 && up[0] && CALLS(0) && req[0] && ESP(0) && out[0]>2 && mk!=2 -> mk=2 }
  :: atomic { i==0 && up[0] && CALLS(0) && req[0] && ESP(0) && out[0]>2 && mk==2 && !rep[0] -> rep[0]=1 }
  :: atomic { i==1 && up[1] && CALLS(1) && req[1] && ESP(1) && !rep[1] -> ml=1; rep[1]=1 }
  :: atomic { up[i] && (i==0 -> v : vl)==AGAIN && out[i]==0 -> out[i]=BLK; req[i]=1; slept=1; CHK }
  /* the agent goes, all that it knew with it */
  :: atomic { up[i] && crash>0 -> crash--; up[i]=0;
       if :: i==0 -> v=NOTHING; if :: skip :: lost=1; slept=1 fi :: else -> vl=NOTHING fi }
  :: atomic { !up[i] && !(i==0 && lost) -> up[i]=1; if :: i==0 -> mute=1; kn=mk :: else fi }
  od }

proctype P() {                                                                    /* what only the peer does */
end:
  do
  :: atomic { up[0] && v!=obj ->
       v=obj;
       if :: (v==LEAV || v==GONE) && enc==1 -> enc=0 :: else fi;                  /* the word of the API: it is no more to be encrypted */
       if :: v==GONE || kn==2 :: (v==ACT||v==LEAV) && kn!=2 -> kn=1
          :: v>=JOIN && kn<2 ->
#ifdef FRESH
            out[0]=0; req[0]=0; rx[0]=0; tx[0]=0; mk=0; fp[0]=1; slept=1;
#else
            if :: kn==1 || mk -> slept=1;                                         /* it slept through the end */
#ifndef NOFORMER
                 rx[0]=rx[0]&~OLD; tx[0]=tx[0]&~OLD; fe[0]=fe[0]&~OLD;
                 if :: ESP(0) && out[0]<3 -> out[0]=BLK :: else fi;
#endif
                 if :: out[0]==0 && mk -> out[0]=BLK; req[0]=1 :: else fi
               :: else fi;
#endif
            kn=2; if :: mk -> mk=2 :: else fi fi; CHK }
#ifndef NOSTONE
#ifdef UIDONLY
  :: atomic { up[0] && v==GONE && kn ->
#else
  :: atomic { up[0] && v==GONE && kn==1 ->
#endif
       kn=0; mk=0; rx[0]=0; tx[0]=0; out[0]=0; req[0]=0; fp[0]=1; fe[0]=0;
       if :: out[1]==0 -> fe[1]=0 :: else fi; CHK }
#endif
  :: atomic { up[0] && v==NOTHING && obj>GONE && mute -> v=GONE; if :: enc==1 -> enc=0 :: else fi }   /* an old list after a restart */
#ifdef ABSENCE
  :: atomic { up[0] && v==NOTHING && kn -> kn=0; mk=0; rx[0]=0; tx[0]=0; out[0]=0; req[0]=0; fp[0]=1; fe[0]=0; slept=1; CHK }
#endif
  :: atomic { up[0] && cur>pub && v!=NOTHING && (AIM0==0 || (tx[0]&B(AIM0))) -> pub=cur }       /* installed, then published */
  :: atomic { reboot>0 -> reboot--; cur=2; up[0]=0; v=NOTHING; slept=1; if :: skip :: lost=1 fi;
       rx[0]=0; tx[0]=0; led[0]=0; mr[0]=0; ms[0]=0; ma[0]=0; fe[0]=0; fp[0]=0;
       if :: mk -> out[0]=BLK; req[0]=1 :: else -> out[0]=0; req[0]=0; fp[0]=1; enc=0 fi; CHK }
  :: atomic { rdy && (!up[0] || kub>0) -> if :: up[0] -> kub-- :: else fi; rdy=0 }              /* the kubelet is away, or alone away */
  :: atomic { !rdy && up[0] -> rdy=1 }
  :: atomic { up[0] && mute && rx[0] && tx[0] -> mute=0 }
  od }

#define FORGET rx[1]=0; tx[1]=0; out[1]=0; req[1]=0; done=1; ml=0; fp[1]=1; fe[1]=0; if :: out[0]==0 -> fe[0]=0 :: else fi
proctype L() {                                                                    /* what only the leaver does */
end:
  do
  :: atomic { up[1] && vl!=obj -> vl=obj;
       if :: vl==LEAV -> encl=0 :: else fi }
  :: atomic { up[1] && vl!=NOTHING && kp!=pub && vl!=GONE -> kp=pub;                                        /* a newer boot of P */
       rx[1]=rx[1]&~(B(1)|B(3)); tx[1]=tx[1]&~(B(1)|B(3)); fe[1]=fe[1]&~(B(1)|B(3));
       if :: out[1]==1 || out[1]==3 -> out[1]=BLK :: else fi; CHK }
  :: atomic { up[1] && vl==LEAV && !done && out[1]==0 && ms[0] && ma[0] && rx[1] -> FORGET; CHK }          /* a drain after both know */
#ifndef NOAWAY
#if defined(SILENCE)
  :: atomic { up[1] && vl==LEAV && !done -> if :: !rdy && (!up[0] || mute) -> slept=1 :: else fi; FORGET; CHK }
#elif defined(DOWNONLY)
  :: atomic { up[1] && vl==LEAV && !done && !rdy -> if :: !up[0] || mute -> slept=1 :: else fi; FORGET; CHK }
#else
  :: atomic { up[1] && vl==LEAV && !done && !rdy && (!up[0] || mute) -> slept=1; FORGET; CHK }
#endif
#endif
  :: atomic { up[1] && CALLS(1) && kp && (tx[1]&B(AIM1)) && !newp -> newp=1 }                      /* L's new session is published */
  od }

proctype ctl() {
end:
  do
  :: atomic { obj==ACT -> obj=LEAV }
  :: atomic { obj==LEAV && done -> obj=GONE; rep[1]=0 }
  :: atomic { obj==GONE && again && vl==GONE -> obj=JOIN; mr[1]=0; ms[1]=0; ma[1]=0; mr[0]=0; ms[0]=0; ma[0]=0 }
  :: atomic { obj==JOIN && newp && ((rep[0] && rep[1]) || !rdy) -> obj=AGAIN }                     /* one that is down holds up nobody */
  od }
#define NONE_OF(i) (!rx[i] && !tx[i] && out[i]==0 && !req[i])
#define HAS(i) (out[i]>2 && ESP(i) && req[i] && rx[i]==B(out[i]) && tx[i]==rx[i])
proctype mon() { timeout; assert(obj!=LEAV);
  if :: again -> assert(obj==AGAIN) :: else -> assert(obj==GONE && NONE_OF(1) && !ml) fi;
  if :: lost -> assert(!again || out[1]!=0)
     :: !lost && again -> assert(HAS(0) && HAS(1) && out[0]==out[1] && mk==2 && ml)
     :: else -> assert(NONE_OF(0) && !mk) fi }
init { atomic { up[0]=1; up[1]=1; out[0]=1; out[1]=1; rx[0]=B(1); rx[1]=B(1); tx[0]=B(1); tx[1]=B(1); led[0]=B(1); led[1]=B(1);
  fe[0]=B(1); fe[1]=B(1); req[0]=1; req[1]=1; if :: again=1 :: again=0 fi;
  run node(0); run node(1); run P(); run L(); run ctl(); run mon() } }
