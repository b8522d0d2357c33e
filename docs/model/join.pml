/* join.pml - a pair goes from plaintext to ESP while it carries traffic (docs/explanation/protocol.md, Joining). Node 0 = A, node 1 = B.
 * st = state in the API: 0 unlabelled, 1 Joining, 2 Active; v, w = what an agent has seen of its own and of the peer's (0 = not yet).
 * Kernel: out (0 plaintext, 1 or 2 = ESP generation, 3 block), req (the peer's plaintext is dropped), rx/tx SAs by generation.
 * Generation 1 = first sessions, 2 = after the one reboot. fp/fe = in flight (fp 2: under the running drain). mark = on disk: this pair
 * blocks at boot. Messages are sets (lost, repeated, reordered). Without -D: what is built; mutants:
 * REPPROVED   an end reports at proof, not when it sends ESP and requires it      EARLY     Active on the report of one end (NOREP: of none)
 * REPNOMARK   reports without the mark; mark only once Active is seen            NODEMARK  an Active node blocks all peers at boot
 * MARKSWITCH  mark at the switch, before the peer's word                          FALLBACK  a peer's newer boot: back to plaintext while Joining
 * RECOMPUTE   an agent without a proof in memory goes back to plaintext           NOWORD    requires on own proof
 * NODRAIN     requires at once on the word                                        PUBSWITCH switches when SAs are installed, without proof
 * STALEWORD   a word heard before the peer's newer boot still counts
 * REPSWITCH   reports when it sends ESP (not requires), mark first
 * BACT: B is Active at the start. CRASH, REBOOT: how many (REBOOT <= 1).
 * I1 no drop by requirement or missing SA except: old-generation ESP to the rebooted end, plaintext of the rebooted end at a peer that requires,
 * block at either after the reboot. I2 both Active: nobody sends plaintext. End: both Active, on one generation, both requiring. */
#define BLK 3
#ifdef STALEWORD
#define LIVE1 1
#define DEADWORD 0
#else
#define LIVE1 (pk[i]!=2)
#define DEADWORD 1
#endif
#define NOTSTALE assert(!(pk[i]==2 && reb==j && out[j]==0))  /* I3: knowing the peer's newer boot, no requirement on an old word */
#ifndef X1
#define X1 1   /* the exemptions of I1; -DX1=0 shows that each is needed */
#endif
#ifndef X2
#define X2 1
#endif
#ifndef X3
#define X3 1
#endif
#define X(i,g) (i)*3+(g)
byte st[2], v[2], w[2], pub[2], pk[2], out[2], fp[2], hw[2];
bit up[2], req[2], mark[2], rep[2], need[2];
bit rx[6], tx[6], fe[6], pr[6], an[6], pv[6], mw[6];
byte crash=CRASH, reboot=REBOOT, reb=9;
#define G(i) (need[i]||!pub[i]||!pk[i] -> 0 : (pub[i]==2||pk[i]==2 -> 2 : 1))
#define ESPF(i,j) (!fe[X(i,1)]||rx[X(j,1)]||(X1&&reb==j)) && (!fe[X(i,2)]||rx[X(j,2)])
#define ONE(i,j) (ESPF(i,j) && (!fp[i]||!req[j]||(X2&&reb==i)) && (out[i]!=1||tx[X(i,1)]) && (out[i]!=2||tx[X(i,2)]) && (out[i]!=BLK||(X3&&reb<2)) && (out[i]!=BLK||reb!=i||mark[i]))
#define CHK assert(ONE(0,1) && ONE(1,0)); assert(st[0]<2||st[1]<2||(out[0]!=0&&out[1]!=0))
proctype node(byte i) { byte j=1-i; byte g;
end:
  do
  :: atomic { up[i] && v[i]!=st[i] -> v[i]=st[i] }
  :: atomic { up[i] && w[i]!=st[j] -> w[i]=st[j] }
  :: atomic { up[i] && pk[i]!=pub[j] -> pk[i]=pub[j]; g=0; if :: pub[j]==2 && DEADWORD -> hw[i]=0 :: else fi }  /* words of a dead boot count no more */
  :: atomic { up[i] && v[i] && (!pub[i]||need[i]) -> pub[i]=(need[i] -> 2 : 1); need[i]=0; fe[X(i,1)]=0 }
  :: atomic { up[i] && v[i] && w[i] && G(i)==2 && i!=reb && (rx[X(i,1)]||tx[X(i,1)]) ->  /* newer boot of the peer: generation 1 is dead */
       rx[X(i,1)]=0; tx[X(i,1)]=0;
       if :: out[i]==1 ->
#ifdef FALLBACK
            if :: v[i]==1||w[i]==1 -> out[i]=0; fp[i]=1; req[i]=0 :: else -> out[i]=BLK fi
#else
            out[i]=BLK
#endif
          :: else fi; CHK }
  :: atomic { up[i] && v[i] && w[i] && G(i) && !tx[X(i,G(i))] -> g=G(i); rx[X(i,g)]=1; tx[X(i,g)]=1; g=0 }
  :: atomic { up[i] && v[i] && w[i] && G(i) && tx[X(i,G(i))] && !pr[X(i,G(i))] -> pr[X(i,G(i))]=1 }
  :: atomic { up[i] && rx[X(i,1)] && tx[X(i,1)] && pr[X(j,1)] && !an[X(i,1)] -> an[X(i,1)]=1 }
  :: atomic { up[i] && rx[X(i,2)] && tx[X(i,2)] && pr[X(j,2)] && !an[X(i,2)] -> an[X(i,2)]=1 }
  :: atomic { up[i] && rx[X(i,1)] && an[X(j,1)] && !pv[X(i,1)] -> pv[X(i,1)]=1 }
  :: atomic { up[i] && rx[X(i,2)] && an[X(j,2)] && !pv[X(i,2)] -> pv[X(i,2)]=1 }
#ifdef PUBSWITCH
  :: atomic { up[i] && v[i] && w[i] && G(i) && tx[X(i,G(i))] && out[i]!=G(i) -> out[i]=G(i); fe[X(i,G(i))]=1; CHK }
#else
  :: atomic { up[i] && v[i] && w[i] && G(i) && tx[X(i,G(i))] && pv[X(i,G(i))] && out[i]!=G(i) -> out[i]=G(i); fe[X(i,G(i))]=1; CHK }
#endif
#ifdef RECOMPUTE
  :: atomic { up[i] && v[i] && w[i] && (v[i]==1||w[i]==1) && (out[i]==1||out[i]==2) && !pv[X(i,out[i])] -> out[i]=0; fp[i]=1; CHK }
#endif
  :: atomic { up[i] && (out[i]==1||out[i]==2) && !mw[X(i,out[i])] -> mw[X(i,out[i])]=1 }       /* word: I send ESP */
  :: atomic { up[i] && !req[i] && !hw[i] && ((mw[X(j,1)]&&rx[X(i,1)]&&LIVE1)||(mw[X(j,2)]&&rx[X(i,2)])) -> hw[i]=1; if :: fp[j] && out[j]!=0 -> fp[j]=2 :: else fi }
#ifdef NODRAIN
  :: atomic { up[i] && !req[i] && hw[i] -> req[i]=1; CHK }
#else
  :: atomic { up[i] && !req[i] && hw[i] -> if :: fp[j]==2 -> fp[j]=0 :: else fi; req[i]=1; NOTSTALE; CHK }  /* a drain later */
#endif
#ifdef NOWORD
  :: atomic { up[i] && !req[i] && (out[i]==1||out[i]==2) -> if :: out[j]!=0 -> fp[j]=0 :: else fi; req[i]=1; CHK }
#endif
  :: atomic { up[i] && v[i]==2 && w[i]==2 && out[i]==0 -> out[i]=BLK; req[i]=1; CHK }         /* both Active: block, never plaintext */
#if defined(REPNOMARK)
  :: atomic { up[i] && !mark[i] && v[i]==2 && w[i]==2 -> mark[i]=1 }
  :: atomic { up[i] && !rep[i] && req[i] && (out[i]==1||out[i]==2) -> rep[i]=1 }
#elif defined(REPPROVED)
  :: atomic { up[i] && !rep[i] && G(i) && pv[X(i,G(i))] -> rep[i]=1 }
  :: atomic { up[i] && !mark[i] && req[i] && (out[i]==1||out[i]==2) -> mark[i]=1 }
#elif defined(MARKSWITCH) || defined(REPSWITCH)
  :: atomic { up[i] && !mark[i] && (out[i]==1||out[i]==2) -> mark[i]=1 }
#ifdef REPSWITCH
  :: atomic { up[i] && !rep[i] && mark[i] && (out[i]==1||out[i]==2) -> rep[i]=1 }
#else
  :: atomic { up[i] && !rep[i] && mark[i] && req[i] && (out[i]==1||out[i]==2) -> rep[i]=1 }
#endif
#else
  :: atomic { up[i] && !mark[i] && req[i] && (out[i]==1||out[i]==2) -> mark[i]=1 }
  :: atomic { up[i] && !rep[i] && mark[i] && req[i] && (out[i]==1||out[i]==2) -> rep[i]=1 }
#endif
  :: atomic { up[i] && crash>0 -> crash--; up[i]=0; v[i]=0; w[i]=0; pk[i]=0; hw[i]=0; g=0; pv[X(i,1)]=0; pv[X(i,2)]=0 }
  :: atomic { !up[i] -> up[i]=1 }
  :: atomic { reboot>0 && st[i] -> reboot--; v[i]=0; w[i]=0; pk[i]=0; hw[i]=0; g=0; pv[X(i,1)]=0; up[i]=0; rx[X(i,1)]=0; tx[X(i,1)]=0;
       if :: pub[i] -> need[i]=1; reb=i :: else fi; req[i]=mark[i];
#ifdef NODEMARK
       if :: st[i]==2 -> req[i]=1; mark[i]=1 :: else fi;
#endif
       if :: mark[i]||req[i] -> out[i]=BLK :: else -> out[i]=0; fp[i]=1 fi; CHK }
  od }
proctype ctl() {
end:
  do
  :: atomic { st[0]==0 -> st[0]=1 }
  :: atomic { st[1]==0 -> st[1]=1 }
#if defined(NOREP)
  :: atomic { st[0]==1 && st[1] -> st[0]=2; CHK }
  :: atomic { st[1]==1 && st[0] -> st[1]=2; CHK }
#elif defined(EARLY)
  :: atomic { st[0]==1 && st[1] && (rep[0]||rep[1]) -> st[0]=2; CHK }
  :: atomic { st[1]==1 && st[0] && (rep[0]||rep[1]) -> st[1]=2; CHK }
#else
  :: atomic { st[0]==1 && st[1] && rep[0] && rep[1] -> st[0]=2; CHK }
  :: atomic { st[1]==1 && st[0] && rep[0] && rep[1] -> st[1]=2; CHK }
#endif
  od }
proctype mon() { timeout; assert(st[0]==2 && st[1]==2 && out[0]==out[1] && (out[0]==1||out[0]==2) && req[0] && req[1] && mark[0] && mark[1]) }
init { atomic { up[0]=1; up[1]=1; fp[0]=1; fp[1]=1;
#ifdef BACT
  st[1]=2;
#endif
  run node(0); run node(1); run ctl(); run mon() } }
