/* lanes.pml - one direction (A sends, B receives) of one switch g0 -> g1 with two lanes; A's agent may crash between any
 * two kernel operations; B may have installed only some lanes (batch failed half way, or an older view of the lane count).
 * Kernel of A: ptr[l] = generation the policy of lane l points at, tx mask over (gen,lane); of B: rx mask over (gen,lane).
 * mutants:  ONEPROBE   only lane 0 is probed and answered for
 *           TAKELANE0  after a restart "current" is read from lane 0's policy; it retires and tells accordingly
 *           STALELANES lane count is a property of the node, not of the session: A believes 2, B has installed 1
 * built:    every lane is probed; current = oldest generation any policy points at; SWITCHED only when all have moved. */
#define BIT(g,l) (1<<((g)*2+(l)))
byte ptr[2]; byte txA=3; byte rxB=3; byte crash=1; bit up=1; bit told; bit retiredtx;
bit proved[2];                        /* volatile */
bit sawcur;                           /* volatile: agent believes the switch is complete */
#ifdef STALELANES
#define BMAX 1
#else
#define BMAX 2
#endif
#define OK assert((txA&BIT(ptr[0],0)) && (txA&BIT(ptr[1],1)) && (rxB&BIT(ptr[0],0)) && (rxB&BIT(ptr[1],1)))
active proctype B() { byte l;
  /* installs lane by lane; may be slow */
  do :: l<BMAX -> rxB=rxB|BIT(1,l); l++ :: else -> break od;
  /* retire receiving SAs of g0 after SWITCHED and drain */
end: told -> atomic { rxB=rxB&~3; OK } }
active proctype A() {
end:
  do
  :: atomic { up && !(txA&BIT(1,0)) -> txA=txA|BIT(1,0) }
  :: atomic { up && (txA&BIT(1,0)) && !(txA&BIT(1,1)) -> txA=txA|BIT(1,1) }
  :: atomic { up && (txA&BIT(1,0)) && (rxB&BIT(1,0)) && !proved[0] -> proved[0]=1
#ifdef ONEPROBE
       ; proved[1]=1
#endif
     }
#ifndef ONEPROBE
  :: atomic { up && (txA&BIT(1,1)) && (rxB&BIT(1,1)) && !proved[1] -> proved[1]=1 }
#endif
  /* policies move one by one, only when everything is proved (or, after a restart, some policy points there already) */
  :: atomic { up && ((proved[0]&&proved[1]) || ptr[1]==1) && (txA&BIT(1,0)) && ptr[0]==0 -> ptr[0]=1; OK }
  :: atomic { up && ((proved[0]&&proved[1]) || ptr[0]==1) && (txA&BIT(1,1)) && ptr[1]==0 -> ptr[1]=1; OK }
#ifdef TAKELANE0
  :: atomic { up && ptr[0]==1 && !sawcur -> sawcur=1 }
#else
  :: atomic { up && ptr[0]==1 && ptr[1]==1 && !sawcur -> sawcur=1 }
#endif
  :: atomic { up && sawcur && (txA&3) -> txA=txA&~3; OK }
  :: atomic { up && sawcur && !told -> told=1 }
  :: atomic { up && crash>0 -> crash--; up=0; proved[0]=0; proved[1]=0; sawcur=0 }
  :: atomic { !up -> up=1 }
  od }
active proctype mon() { timeout; assert(ptr[0]==1 && ptr[1]==1 && txA==12 && rxB==12) }
