/* clauses.pml - one pair of nodes that go by words READY and SWITCHED alone, without a limit of generations; -D switches put
 * back clauses that were tried and dropped, or remove single ones, so that each one's necessity is shown by a counterexample.
 * What is built is pair.pml.
 *
 * generation g = a*4+b (a: session number of node 0, b: of node 1, 0..3), NONE = blocked (strict, no plaintext).
 * Messages are sets: a message once sent may arrive at any later time, any number of times, or never (loss,
 * duplication, reordering), but only while the receiver holds the receiving SA it travels over.
 * dat[i] = generations with data packets of i possibly in flight; it shrinks only when a drain of the receiver ends.
 * Faults: agent crash (volatile state lost, optionally tmpfs lost, optionally a STALE first view), reboot, renewals.
 * Progress (I4): faults are finite; every terminal state must be the goal (monitor), and there are no cycles (pan -l).
 *
 * dropped:  LIT_READY  PROBE only after READY of that generation, READY edge-triggered, skipped without a current gen
 *           CHARITABLE (with LIT_READY) READY goes on over the new generation when I have switched before its ack
 *           IMPLIED    (with LIT_READY) an authenticated PROBE or SWITCHED of that generation counts as READY
 *           PROBETOP   PROBE only the newest installed generation; SUPERABOVE overtaken ones are dropped only above current;
 *           LIM=n      at most n generations of a pair installed (16 = no limit, default; 3 deadlocks: see pair.pml)
 *           NOBOOTID   generations with a session of an earlier boot of the peer are not recognised as dead
 *           MONOONLY / LEDONLY   only the kernel watermark / only the ledger guards re-installation
 *           EDGE       SWITCHED only until acknowledged (memory only)
 *           NOLEDGER   install whatever the API view asks for and the kernel lacks
 *           DIFFREMOVE remove what the API view does not want (sessions not published in my view)
 *           OLDMINE    SWITCHED(any) retires everything older than MY current
 *           DROPANY    abort/supersede drops a generation that I have not switched to
 *           NOSUPER    candidates that were overtaken are kept until retire
 *           PUBSEND    "whoever sees a newer publication may send at once"
 *           FIXHALF    after a restart complete a half-installed generation instead of condemning it
 */
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
int led[2]; int rx[2]; int tx[2]; int cnt[2]; int used[2]; int usedrx[2];
byte pol[2]; byte ps[2]; byte ins[2]; byte insg[2];
int PR[2]; int AN[2]; int SW[2]; int dat[2];
#ifdef LIT_READY
int rs[2]; int ak[2]; int norea[2];
#endif
#ifdef EDGE
bit told[2];
#endif
#ifndef WIPE
#define WIPE 0
#endif
#ifndef ABORT
#define ABORT 0
#endif
byte wipe=WIPE, abrt=ABORT; int ex[2];
byte crash=CRASH, reboot=REBOOT, ren=RENEW; bit quiet;

#define INV(s,r) assert((dat[s] & ~rx[r] & ~ex[r] & ~DEADOF(r,kb[r]))==0)     /* I1/I5 */
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
#define LIM 16
#endif
#define C4(m) (((m)&1)+(((m)>>1)&1)+(((m)>>2)&1)+(((m)>>3)&1))
#define C16(m) (C4(m)+C4((m)>>4)+C4((m)>>8)+C4((m)>>12))
#define ROOM(i) (C16(rx[i]|tx[i])<LIM)                             /* at most LIM generations of a pair installed */
#define CAND(i) (rx[i]&tx[i]&~(pol[i]==NONE -> 0 : LE(pol[i])))
#define INSTALLED(i) (rx[i]&tx[i]&B(T(i)))
#ifdef LIT_READY
#define READYOK(i) (pol[i]==NONE || (rs[i]&B(T(i))))
#else
#define READYOK(i) 1
#endif
#ifdef CHARITABLE
#define RDWHEN(i) 1
#else
#define RDWHEN(i) ABOVE(T(i),pol[i])
#endif
#ifdef NOSUPER
#define SUPER(i) 0
#else
#ifdef DROPANY
#define SUPER(i) ((rx[i]|tx[i]) & LT(T(i)) & ~(pol[i]==NONE -> 0 : LE(pol[i])))
#elif defined(SUPERABOVE)
#define SUPER(i) ((rx[i]|tx[i]) & LT(T(i)) & ~(pol[i]==NONE -> 0 : LE(pol[i])) & ~cnt[i])
#else
#define SUPER(i) ((rx[i]|tx[i]) & LT(T(i)) & ~(pol[i]==NONE -> 0 : B(pol[i])) & ~cnt[i])
#endif
#endif

proctype node(byte i) {
  byte j; byte g; int m;
  j = 1-i;
end:
  do
  :: atomic { up[i] && (vp[i]!=pub[j] || vb[i]!=pb[j]) -> vp[i]=pub[j]; vb[i]=pb[j] }              /* watch event */
  :: atomic { up[i] && !quiet && !need[i] && cur[i]==pub[i] && ins[i]==0 && ren>0 && cur[i]+1+crash+reboot+wipe+abrt<4 ->
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
       rx[i]=rx[i]|B(insg[i]); cnt[i]=cnt[i]&~B(insg[i]); ins[i]=2 }
  :: atomic { up[i] && ins[i]==2 -> assert(!(used[i]&B(insg[i]))); used[i]=used[i]|B(insg[i]);    /* I3 */
       tx[i]=tx[i]|B(insg[i]); ins[i]=0; insg[i]=0;
#ifdef LIT_READY
       if :: pol[i]==NONE -> norea[i]=norea[i]|tx[i] :: else fi
#endif
     }
  :: atomic { up[i] && hx[i] && !need[i] && ins[i]==0 && cur[i]>pub[i] && INSTALLED(i) -> pub[i]=cur[i]; pb[i]=kb[i] }
#ifdef LIT_READY
  /* READY(t) over my current generation, until acknowledged; lost = not taken */
  :: atomic { up[i] && INSTALLED(i) && pol[i]!=NONE && RDWHEN(i) && !(norea[i]&B(T(i))) && !(ak[i]&B(T(i))) && up[j] && (rx[j]&B(pol[i])) &&
       !(rs[j]&B(T(i))) -> rs[j]=rs[j]|B(T(i)) }
  :: atomic { up[i] && INSTALLED(i) && pol[i]!=NONE && RDWHEN(i) && !(norea[i]&B(T(i))) && !(ak[i]&B(T(i))) && up[j] && (rs[j]&B(T(i))) -> ak[i]=ak[i]|B(T(i)) }
#endif
#ifdef LIT_READY
  :: atomic { up[i] && INSTALLED(i) && ABOVE(T(i),pol[i]) && READYOK(i) && !(PR[i]&B(T(i))) -> PR[i]=PR[i]|B(T(i)) }
#else
#ifdef PROBETOP
  :: atomic { up[i] && (CAND(i)&~PR[i]) > (CAND(i)&PR[i]) -> m=CAND(i)&~PR[i]; g=15;               /* only the newest installed */
       do :: !((m>>g)&1) -> g-- :: else -> break od; PR[i]=PR[i]|B(g); m=0; g=0 }
#else
  :: atomic { up[i] && (CAND(i)&~PR[i])!=0 -> PR[i]=PR[i]|CAND(i) }                                /* every installed newer one */
#endif
#endif
  /* PROBE arrives: in the kernel (counter), and answered over my sending SA of the same generation */
  :: atomic { (PR[j] & rx[i] & ~cnt[i])!=0 -> m=PR[j]&rx[i]&~cnt[i]; pick(m); cnt[i]=cnt[i]|B(g); m=0; g=0 }
  :: atomic { up[i] && (PR[j]&rx[i]&tx[i]&~AN[j])!=0 -> m=PR[j]&rx[i]&tx[i]&~AN[j]; pick(m);
       cnt[i]=cnt[i]|B(g); AN[j]=AN[j]|B(g);
#ifdef LIT_READY
#ifdef IMPLIED
       rs[i]=rs[i]|B(g);
#endif
#endif
       m=0; g=0 }
  /* answer arrives: switch */
  :: atomic { up[i] && (AN[i]&rx[i]&tx[i]&~(pol[i]==NONE -> 0 : LE(pol[i])))!=0 ->
       m=AN[i]&rx[i]&tx[i]&~(pol[i]==NONE -> 0 : LE(pol[i])); pick(m);
       assert(ABOVE(g,pol[i])); cnt[i]=cnt[i]|B(g); pol[i]=g; dat[i]=dat[i]|B(g);
#ifdef EDGE
       told[i]=0;
#endif
       m=0; g=0; INVS }
#ifdef PUBSEND
  :: atomic { up[i] && INSTALLED(i) && ABOVE(T(i),pol[i]) -> pol[i]=T(i); dat[i]=dat[i]|B(T(i)); INVS }
#endif
#ifdef EDGE
  :: atomic { up[i] && pol[i]!=NONE && !told[i] && !(SW[i]&B(pol[i])) -> SW[i]=SW[i]|B(pol[i]) }
  :: atomic { up[i] && up[j] && pol[i]!=NONE && (SW[i]&B(pol[i])) && ps[j]==pol[i] -> told[i]=1; SW[i]=SW[i]&~B(pol[i]) } /* acked: not sent again */
#else
  :: atomic { up[i] && pol[i]!=NONE && !(SW[i]&B(pol[i])) -> SW[i]=SW[i]|B(pol[i]) }              /* "I send on pol" */
#endif
  :: atomic { up[i] && (SW[j]&rx[i]&~(ps[i]==NONE -> 0 : LE(ps[i])))!=0 -> m=SW[j]&rx[i]&~(ps[i]==NONE -> 0 : LE(ps[i])); pick(m);
       if :: ABOVE(g,ps[i]) -> ps[i]=g :: else -> assert(0) fi;
#ifdef LIT_READY
#ifdef IMPLIED
       rs[i]=rs[i]|B(g);
#endif
#endif
       m=0; g=0 }
  :: atomic { up[i] && pol[i]!=NONE && (tx[i]&LT(pol[i]))!=0 -> tx[i]=tx[i]&~LT(pol[i]); INVS }    /* retire sending */
#ifdef OLDMINE
  :: atomic { up[i] && ps[i]!=NONE && pol[i]!=NONE && (rx[i]&LT(pol[i]))!=0 -> m=rx[i]&LT(pol[i]);
#else
  :: atomic { up[i] && ps[i]!=NONE && (rx[i]&LT(ps[i]))!=0 -> m=rx[i]&LT(ps[i]);                   /* retire receiving + drain */
#endif
       if :: pol[j]==NONE -> dat[j]=dat[j]&~m :: else -> dat[j]=dat[j]&~(m&~B(pol[j])) fi;
       rx[i]=rx[i]&~m; m=0; INVS }
  :: atomic { up[i] && ins[i]==0 && SUPER(i)!=0 -> m=SUPER(i); tx[i]=tx[i]&~m; rx[i]=rx[i]&~m; m=0; INVS }
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
  :: atomic { up[i] && !quiet && crash>0 -> crash--; up[i]=0; ins[i]=0; insg[i]=0; ps[i]=NONE; PR[i]=0; AN[i]=0; need[i]=0;
#ifdef LIT_READY
       rs[i]=0; ak[i]=0;
#endif
#ifdef EDGE
       told[i]=0;
#endif
       if :: skip :: hx[i]=0; led[i]=0 fi }                                                        /* tmpfs lost or not */
  :: atomic { !quiet && reboot>0 && cur[i]<3 -> reboot--; up[i]=0; ins[i]=0; insg[i]=0; ps[i]=NONE; PR[i]=0; AN[i]=0; need[i]=0;
       rx[i]=0; tx[i]=0; cnt[i]=0; led[i]=0; hx[i]=0; pol[i]=NONE; dat[i]=0; kb[i]=cur[i]+1;
#ifdef LIT_READY
       rs[i]=0; ak[i]=0; norea[i]=0;
#endif
       }
  /* SAs of the pair lost or removed without a reboot (flush; peer seen unlabelled and labelled again) */
  :: atomic { !quiet && wipe>0 && ins[i]==0 && rx[i]!=0 -> wipe--; ex[i]=ex[i]|rx[i]; rx[i]=0; tx[i]=0; cnt[i]=0; pol[i]=NONE }
  /* abort: a candidate from which nothing was ever received is dropped, and later wanted again */
  :: atomic { up[i] && !quiet && abrt>0 && ins[i]==0 && INSTALLED(i) && ABOVE(T(i),pol[i]) && !(cnt[i]&B(T(i))) ->
       abrt--; m=B(T(i)); rx[i]=rx[i]&~m; if :: tx[i]=tx[i]&~m :: tx[i]=tx[i]&~m fi; m=0; INVS }
  :: atomic { !up[i] -> up[i]=1; need[i]=!hx[i]; if :: skip :: vp[i]=0; vb[i]=0 fi }               /* restart, maybe stale */
  od
}
#define DONE (up[0]&&up[1]&&pub[0]==cur[0]&&pub[1]==cur[1]&&pol[0]==G(pub[0],pub[1])&&pol[1]==pol[0] && \
  rx[0]==B(pol[0]) && rx[1]==rx[0] && tx[0]==rx[0] && tx[1]==rx[0])
proctype calm() { quiet=1 }
proctype mon() { timeout; assert(DONE) }
init { atomic {
  hx[0]=1; hx[1]=1; up[0]=1; up[1]=1; ps[0]=NONE; ps[1]=NONE;
#ifdef FRESH
  pol[0]=NONE; pol[1]=NONE;
#else
  led[0]=1; led[1]=1; rx[0]=1; rx[1]=1; tx[0]=1; tx[1]=1; cnt[0]=1; cnt[1]=1; used[0]=1; used[1]=1; usedrx[0]=1; usedrx[1]=1;
  dat[0]=1; dat[1]=1; SW[0]=1; SW[1]=1; ps[0]=0; ps[1]=0;
#endif
  run node(0); run node(1); run calm(); run mon() } }
