/* pair.pml - one pair of nodes, with a pair that is full giving up what is of no more use (ADR 8).
 * Every message lists the sending SAs its sender holds; a generation not listed is GONE for ever if it is older than the newest
 * listed, or of a sender's number below its newest; only that word lets the receiver drop its receiving SA.
 * generation g = a*4+b (session numbers of node 0 and 1, 0..3), NONE = blocked. PROBE/answer are sets (may arrive at any
 * later time, repeatedly, or never). GONE facts are permanent, so delay adds nothing: delivery = any later moment.
 * dat[i] = generations with data of i possibly in flight; shrinks only when the receiver's drain ends.
 * SKIPOK=1: a full pair skips a session. SUPER: a full pair gives up candidates over which nothing ever came.
 * FLUSH=n: somebody else deletes all receiving SAs of one end, n times; with CHANNEL a word travels over what is whole alone: over
 *          the generation in use, else over the newest. sp[i]: what such an end sends may be lost until it has proved another one.
 * LAST: the last resort, a full pair gives up what was overtaken and is silent: the peer neither speaks nor probes over it, for
 *          so long that what was sent before has come or is lost. Too eager: EAGER (without the wait), GIVEUSED (the own one in use, too),
 *          NOTFULL (without need).
 * mutants: WITHDRAW (rx of an overtaken candidate dropped without the peer's word), NOTBELOW (not listed = gone, even if
 *          newer than all listed), DROPEARLY (a candidate gives way to one not yet published), NOORPHANS (SAs of never published
 *          own sessions below the newest are not deleted), BELOWONLY (gone = only below the newest listed), DIFFREMOVE, PUBSEND,
 *          NOLEDGER, MONOONLY, LEDONLY, FIXHALF, NOBOOTID, LIM=n, PROBETOP */
#ifndef CRASH
#define CRASH 1
#endif
#ifndef REBOOT
#define REBOOT 1
#endif
#ifndef RENEW
#define RENEW 2
#endif
#define NONE 16
#define B(g) (1<<(g))
#define LE(g) (((1<<(((g)&3)+1))-1) * (((1<<(4*(((g)>>2)+1)))-1)/15))
#define LT(g) (LE(g) & ~B(g))
#define ABOVE(g,p) ((p)==NONE || (B(p) & LT(g)))
#define G(x,y) ((x)*4+(y))
#define T(i) ((i)==0 -> G(cur[0],vp[0]) : G(vp[1],cur[1]))          /* target: newest own, newest seen of the peer */
/* generations in which node n's number is < k */
#define DEADOF(n,k) ((n)==0 -> ((1<<(4*(k)))-1) : (((1<<(k))-1)*4369))
#define PEERNUM(i,g) ((i)==0 -> ((g)&3) : ((g)>>2))

byte pub[2]; byte pb[2];             /* API: newest published number; first number of the publishing boot */
byte vp[2]; byte vb[2];              /* i's view of the peer's pub, pb */
byte cur[2]; byte kb[2];             /* newest own session; first number of the current boot (truth) */
bit hx[2]; bit need[2]; bit up[2];
int led[2]; int rx[2]; int tx[2]; int used[2]; int usedrx[2];
byte pol[2]; byte ins[2]; byte insg[2];
int PR[2]; int AN[2]; int dat[2]; int got[2];
#ifndef SKIPOK
#define SKIPOK 0
#endif
#ifndef WIPE
#define WIPE 0
#endif
#ifndef ABORT
#define ABORT 0
#endif
#ifndef FLUSH
#define FLUSH 0
#endif
byte wipe=WIPE, abrt=ABORT, flush=FLUSH; int ex[2]; int sp[2];
#ifdef SUPER
#define TOUCH(i,g) got[i]=got[i]|B(g);
#else
#define TOUCH(i,g)
#endif
byte crash=CRASH, reboot=REBOOT, ren=RENEW; bit quiet;

#define INV(s,r) assert((dat[s] & ~rx[r] & ~ex[r] & ~sp[s] & ~DEADOF(r,kb[r]))==0)   /* I1/I5 */
#define INVS INV(0,1); INV(1,0); assert(pol[0]==NONE || (tx[0]&B(pol[0]))); assert(pol[1]==NONE || (tx[1]&B(pol[1])))
inline pick(mm) { g=0; do :: ((mm)>>g)&1 -> break :: ((mm)>>(g+1))!=0 -> g++ od }

#ifdef MONOONLY
#define MAYINSTALL(i) (((rx[i]|tx[i])&~LT(T(i)))==0)
#elif defined(LEDONLY)
#define MAYINSTALL(i) (!(led[i]&B(T(i))))
#elif defined(NOLEDGER)
#define MAYINSTALL(i) (!((rx[i]|tx[i])&B(T(i))))
#else
#define MAYINSTALL(i) (!(led[i]&B(T(i))) && ((rx[i]|tx[i])&~LT(T(i)))==0 && ROOM(i))
#endif
#ifndef LIM
#define LIM 3
#endif
#define C4(m) (((m)&1)+(((m)>>1)&1)+(((m)>>2)&1)+(((m)>>3)&1))
#define C16(m) (C4(m)+C4((m)>>4)+C4((m)>>8)+C4((m)>>12))
#define ROOM(i) (C16(rx[i])<LIM)                                   /* at most LIM receiving generations of a pair */
#define CAND(i) (rx[i]&tx[i]&~(pol[i]==NONE -> 0 : LE(pol[i])))
/* all of a node's generations are comparable: the numerically greatest is the newest */
#define NEWER(m,g) (((m)>>(g))>1)                       /* m holds a generation numerically above g */
#define HALF(m) ((m)|((m)>>1)|((m)>>2)|((m)>>3))
#define FILL(m) (HALF(m)|(HALF(m)>>4)|(HALF(m)>>8)|(HALF(m)>>12))   /* all bits up to the top one */
#define BELOW(m) (FILL(m)>>1)                           /* all bits below the top one of m */
#ifdef DROPEARLY
#define PUBM(i) 65535
#else
#define PUBM(i) DEADOF(i,pub[i]+1)                      /* own session published */
#endif
#define ORPH(i) (DEADOF(i,cur[i]) & ~DEADOF(i,pub[i]+1))
#define m0(i) (tx[i] & BELOW(rx[i]&tx[i]&PUBM(i)) & ~(pol[i]==NONE -> 0 : B(pol[i])))
#ifdef NOTBELOW
#define GONE(j) (~tx[j])
#else
#ifdef BELOWONLY
#define GONE(j) (BELOW(tx[j]) & ~tx[j])
#else
#define GONE(j) ((BELOW(tx[j]) | DEADOF(j,cur[j])) & ~tx[j])
#endif
#endif
#define INSTALLED(i) (rx[i]&tx[i]&B(T(i)))

/* what j speaks over: what it uses if that is whole, else its newest whole one; and what it probes */
#define WHOLE(j) (rx[j]&tx[j])
#define TOP(m) ((m)&~BELOW(m))
#define SPEAKS(j) ((pol[j]!=NONE && (WHOLE(j)&B(pol[j])) -> B(pol[j]) : TOP(WHOLE(j))) | CAND(j))
#ifdef CHANNEL
#define WORDS(j) (pol[j]!=NONE && (WHOLE(j)&B(pol[j])) -> B(pol[j]) : TOP(WHOLE(j)))
#else
#define WORDS(j) tx[j]
#endif
#if defined(EAGER)
#define SILENT(j) 65535
#elif defined(DOWN)
#define SILENT(j) (up[j] -> ~SPEAKS(j) : 65535)
#else
#define SILENT(j) (up[j] -> ~SPEAKS(j) : 0)
#endif
#ifdef NOTFULL
#define FULL(i) 1
#else
#define FULL(i) (!ROOM(i))
#endif
#define OWNUSE(i) (pol[i]==NONE -> 0 : B(pol[i]))
#if defined(GIVEUSED)
#define YIELDS(i,j) (rx[i]&got[i]&LT(T(i))&SILENT(j))
#else
#define YIELDS(i,j) (rx[i]&got[i]&LT(T(i))&~OWNUSE(i)&SILENT(j))
#endif

proctype node(byte i) {
  byte j; byte g; int m;
  j = 1-i;
end:
  do
  :: atomic { up[i] && (vp[i]!=pub[j] || vb[i]!=pb[j]) -> vp[i]=pub[j]; vb[i]=pb[j] }              /* watch event */
  :: atomic { up[i] && !quiet && !need[i] && cur[i]==pub[i] && ins[i]==0 && ren>0 && cur[i]+1+crash+reboot+wipe+abrt+flush<4 ->
       ren--; cur[i]++ }                                                                           /* renewal */
  :: atomic { up[i] && need[i] && ins[i]==0 && cur[i]<3 -> cur[i]++; need[i]=0; hx[i]=1 }          /* forced new session */
#ifdef FIXHALF
  :: atomic { up[i] && hx[i] && !need[i] && ins[i]==0 && (led[i]&B(T(i))) && (rx[i]&B(T(i))) && !(tx[i]&B(T(i))) &&
       ((rx[i]|tx[i])&~LE(T(i)))==0 -> ins[i]=2; insg[i]=T(i) }
  :: atomic { up[i] && hx[i] && !need[i] && ins[i]==0 && (led[i]&B(T(i))) && !((rx[i]|tx[i])&B(T(i))) &&
       ((rx[i]|tx[i])&~LE(T(i)))==0 -> ins[i]=1; insg[i]=T(i) }
#else
  :: atomic { up[i] && hx[i] && !need[i] && ins[i]==0 && (led[i]&B(T(i))) && !INSTALLED(i) &&
       ((rx[i]|tx[i])&~LE(T(i)))==0 && PEERNUM(i,T(i))>=vb[i] -> need[i]=1 }                    /* condemned */
#endif
  :: atomic { up[i] && hx[i] && !need[i] && ins[i]==0 && MAYINSTALL(i) && PEERNUM(i,T(i))>=vb[i] ->
       insg[i]=T(i); led[i]=led[i]|B(insg[i]); ins[i]=1 }                                          /* ledger first */
  :: atomic { up[i] && ins[i]==1 -> assert(!(usedrx[i]&B(insg[i]))); usedrx[i]=usedrx[i]|B(insg[i]);
       rx[i]=rx[i]|B(insg[i]); ins[i]=2 }
  :: atomic { up[i] && ins[i]==2 -> assert(!(used[i]&B(insg[i]))); used[i]=used[i]|B(insg[i]);    /* I3 */
       tx[i]=tx[i]|B(insg[i]); ins[i]=0; insg[i]=0;
     }
  :: atomic { up[i] && hx[i] && !need[i] && ins[i]==0 && cur[i]>pub[i] && (INSTALLED(i) || (SKIPOK && !ROOM(i))) -> pub[i]=cur[i]; pb[i]=kb[i] }
#ifdef PROBETOP
  :: atomic { up[i] && (CAND(i)&~PR[i]) > (CAND(i)&PR[i]) -> m=CAND(i)&~PR[i]; g=15;               /* only the newest installed */
       do :: !((m>>g)&1) -> g-- :: else -> break od; PR[i]=PR[i]|B(g); m=0; g=0 }
#else
  :: atomic { up[i] && (CAND(i)&~PR[i])!=0 -> PR[i]=PR[i]|CAND(i) }                                /* every installed newer one */
#endif
  /* PROBE arrives: in the kernel (counter), and answered over my sending SA of the same generation */
  :: atomic { up[i] && (PR[j]&rx[i]&tx[i]&~AN[j])!=0 -> m=PR[j]&rx[i]&tx[i]&~AN[j]; pick(m);
       AN[j]=AN[j]|B(g);
       TOUCH(i,g)
       m=0; g=0 }
  /* answer arrives: switch */
  :: atomic { up[i] && (AN[i]&rx[i]&tx[i]&~(pol[i]==NONE -> 0 : LE(pol[i])))!=0 ->
       m=AN[i]&rx[i]&tx[i]&~(pol[i]==NONE -> 0 : LE(pol[i])); pick(m);
       assert(ABOVE(g,pol[i])); pol[i]=g; TOUCH(i,g) dat[i]=dat[i]|B(g);
       m=0; g=0; INVS }
#ifdef PUBSEND
  :: atomic { up[i] && INSTALLED(i) && ABOVE(T(i),pol[i]) -> pol[i]=T(i); dat[i]=dat[i]|B(T(i)); INVS }
#endif
  /* sending SAs: keep the one in use and the newest installed, delete the rest */
  :: atomic { up[i] && ins[i]==0 && (m0(i))!=0 -> tx[i]=tx[i]&~(m0(i)); INVS }
  /* the peer's word (over any generation it can still send on): generations it can never send on again; drain; delete */
  :: atomic { up[i] && up[j] && ins[i]==0 && (WORDS(j)&rx[i])!=0 && (rx[i]&GONE(j)&~B(T(i)))!=0 -> m=rx[i]&GONE(j)&~B(T(i));
       if :: pol[j]==NONE -> dat[j]=dat[j]&~m :: else -> dat[j]=dat[j]&~(m&~B(pol[j])) fi;
       rx[i]=rx[i]&~m; if :: pol[i]==NONE -> tx[i]=tx[i]&~m :: else -> tx[i]=tx[i]&~(m&~B(pol[i])) fi; m=0; INVS }
#ifndef NOORPHANS
  /* an own session below the newest that was never published: nobody can know it */
  :: atomic { up[i] && ins[i]==0 && ((rx[i]|tx[i])&ORPH(i))!=0 -> m=ORPH(i); rx[i]=rx[i]&~m; tx[i]=tx[i]&~m; m=0; INVS }
#endif
#ifdef SUPER
  :: atomic { up[i] && hx[i] && !need[i] && ins[i]==0 && !ROOM(i) && !((rx[i]|tx[i])&B(T(i))) && (rx[i]&~got[i]&LT(T(i))&~(pol[i]==NONE -> 0 : B(pol[i])))!=0 ->
       m=rx[i]&~got[i]&LT(T(i))&~(pol[i]==NONE -> 0 : B(pol[i])); rx[i]=rx[i]&~m; tx[i]=tx[i]&~m; m=0; INVS }
#endif
#ifdef LAST
  /* the last resort: overtaken, touched, and silent for three words' time; what was sent before that has come or is lost */
  :: atomic { up[i] && hx[i] && !need[i] && ins[i]==0 && FULL(i) && !((rx[i]|tx[i])&B(T(i))) && !(led[i]&B(T(i))) && (YIELDS(i,j))!=0 ->
       m=YIELDS(i,j); rx[i]=rx[i]&~m; tx[i]=tx[i]&~m;
#ifndef EAGER
       AN[j]=AN[j]&~m; dat[j]=dat[j]&~(m&~(pol[j]==NONE -> 0 : B(pol[j])));
#endif
       m=0; INVS }
#endif
#ifdef WITHDRAW
  :: atomic { up[i] && ins[i]==0 && (rx[i]&~tx[i]&LT(T(i)))!=0 && (pol[i]==NONE || (rx[i]&~tx[i]&LT(T(i))&~LE(pol[i]))!=0) ->
       rx[i]=rx[i]&~(rx[i]&~tx[i]&LT(T(i))&~(pol[i]==NONE -> 0 : LE(pol[i]))); INVS }
#endif
#ifdef DIFFREMOVE
  :: atomic { up[i] && ins[i]==0 && ((rx[i]|tx[i])&~LE(G((i==0->cur[0]:vp[1]),(i==0->vp[0]:cur[1]))))!=0 ->
       m=(rx[i]|tx[i])&~LE(G((i==0->cur[0]:vp[1]),(i==0->vp[0]:cur[1]))); tx[i]=tx[i]&~m; rx[i]=rx[i]&~m;
       if :: pol[i]!=NONE && (B(pol[i])&m) -> pol[i]=NONE :: else fi; m=0; INVS }
#endif
#ifndef NOBOOTID
  :: atomic { up[i] && ((rx[i]|tx[i])&DEADOF(j,vb[i]))!=0 -> m=DEADOF(j,vb[i]); tx[i]=tx[i]&~m; rx[i]=rx[i]&~m; dat[j]=dat[j]&~m;
       if :: pol[i]!=NONE && (B(pol[i])&m) -> pol[i]=NONE :: else fi; m=0; INVS }                  /* peer rebooted: dead at once */
#endif
  /* faults */
  :: atomic { up[i] && !quiet && crash>0 -> crash--; up[i]=0; ins[i]=0; insg[i]=0; PR[i]=0; AN[i]=0; need[i]=0;
       if :: skip :: hx[i]=0; led[i]=0 fi }                                                        /* tmpfs lost or not */
  :: atomic { !quiet && reboot>0 && cur[i]<3 -> reboot--; up[i]=0; ins[i]=0; insg[i]=0; PR[i]=0; AN[i]=0; need[i]=0;
       rx[i]=0; tx[i]=0; led[i]=0; hx[i]=0; pol[i]=NONE; dat[i]=0; kb[i]=cur[i]+1; got[i]=0;
       }
  /* SAs of the pair lost or removed without a reboot (flush; peer seen unlabelled and labelled again) */
  :: atomic { !quiet && wipe>0 && ins[i]==0 && rx[i]!=0 -> wipe--; ex[i]=ex[i]|rx[i]; rx[i]=0; tx[i]=0; pol[i]=NONE; got[i]=0 }
  /* receiving SAs deleted by somebody else, again and again: i hears nothing over these, and has none to speak over (sp) */
  :: atomic { !quiet && flush>0 && up[i] && ins[i]==0 && rx[i]!=0 && cur[i]<3 -> flush--; ex[i]=ex[i]|rx[i]; sp[i]=sp[i]|rx[i]|tx[i];
       rx[i]=0; got[i]=0 }
  /* abort: the sending SA of a candidate goes (ABORTLIT: the receiving one too); later it is wanted again */
  :: atomic { up[i] && !quiet && abrt>0 && ins[i]==0 && INSTALLED(i) && ABOVE(T(i),pol[i]) ->
       abrt--; m=B(T(i)); tx[i]=tx[i]&~m;
#ifdef ABORTLIT
       rx[i]=rx[i]&~m;
#endif
       m=0; INVS }
  :: atomic { !up[i] -> up[i]=1; need[i]=!hx[i]; if :: skip :: vp[i]=0; vb[i]=0 fi }               /* restart, maybe stale */
  od
}
#define DONE (up[0]&&up[1]&&pub[0]==cur[0]&&pub[1]==cur[1]&&pol[0]==G(pub[0],pub[1])&&pol[1]==pol[0] && \
  rx[0]==B(pol[0]) && rx[1]==rx[0] && tx[0]==rx[0] && tx[1]==rx[0])
proctype calm() { quiet=1 }
proctype mon() { timeout; assert(DONE) }
init { atomic {
  hx[0]=1; hx[1]=1; up[0]=1; up[1]=1;
#ifdef FRESH
  pol[0]=NONE; pol[1]=NONE;
#else
  led[0]=1; led[1]=1; rx[0]=1; rx[1]=1; tx[0]=1; tx[1]=1; used[0]=1; used[1]=1; usedrx[0]=1; usedrx[1]=1;
  dat[0]=1; dat[1]=1; TOUCH(0,0) TOUCH(1,0)
#endif
  run node(0); run node(1); run calm(); run mon() } }
