/* leave.pml - node 1 (B) is unlabelled: the pair goes back to plaintext. Kernel state: send (ESP/PLAIN), acc (plaintext is
 * accepted), rx/tx (SAs). v = what each agent has seen: 0 enabled, 1 leaving, 2 object gone. Any agent may be down for long.
 * LIT      each end goes by its own view: accept plaintext, stop encrypting, remove - no evidence
 * LITHALF  evidence that the peer accepts plaintext, but SAs are removed without evidence that the peer stopped
 * SYMACK   both ends remove after SWITCHED(plain) heard and own one acknowledged (two generals)
 * AMEND    READY(plain) -> switch -> SWITCHED(plain); the leaver cleans, then its object goes; the other end cleans on that
 * RECANT   (with AMEND) relabelling while leaving simply makes the view "enabled" again
 * I1: what is in flight can be received. I2: nobody sends plaintext while, by its own view, the peer is enabled. */
#define ESP 0
#define PLAIN 1
byte send[2]; bit acc[2]; bit rx[2]; bit tx[2]; bit up[2]; byte v[2];
bit fe[2]; bit fp[2];              /* in flight from i: ESP, plaintext */
bit mr[2]; bit ms[2]; bit ma[2];   /* sent by i: READY(plain), SWITCHED(plain), ack of the peer's SWITCHED */
bit hr[2]; bit hs[2]; bit ha[2];   /* heard by i (volatile) */
byte obj; byte crash=2; bit flip=1;
#define CHK assert((!fe[0]||rx[1]) && (!fe[1]||rx[0]) && (!fp[0]||acc[1]) && (!fp[1]||acc[0]) && (send[0]==PLAIN||tx[0]) && (send[1]==PLAIN||tx[1]))
proctype node(byte i) { byte j=1-i;
end:
  do
  :: atomic { up[i] && v[i]!=obj -> v[i]=obj }
#ifdef RECANT
  :: atomic { up[i] && v[i]==0 && acc[i] -> acc[i]=0; CHK }
  :: atomic { up[i] && v[i]==0 && send[i]==PLAIN && tx[i] -> send[i]=ESP; fe[i]=1; fp[i]=0; ms[i]=0; CHK }
#endif
  :: atomic { up[i] && v[i]>0 && !acc[i] -> acc[i]=1 }
  :: atomic { up[i] && v[i]>0 && acc[i] && tx[i] && !mr[i] -> mr[i]=1 }
  :: atomic { up[i] && mr[j] && rx[i] && !hr[i] -> hr[i]=1 }
#ifdef LIT
  :: atomic { up[i] && v[i]>0 && acc[i] && send[i]==ESP -> send[i]=PLAIN; fp[i]=1; CHK }
#else
  :: atomic { up[i] && v[i]>0 && acc[i] && hr[i] && send[i]==ESP -> send[i]=PLAIN; fp[i]=1; CHK }
#endif
  :: atomic { up[i] && send[i]==PLAIN && tx[i] && !ms[i] -> ms[i]=1 }
  :: atomic { up[i] && ms[j] && rx[i] && !hs[i] -> hs[i]=1 }
  :: atomic { up[i] && hs[i] && tx[i] && !ma[i] -> ma[i]=1 }
  :: atomic { up[i] && ma[j] && rx[i] && !ha[i] -> ha[i]=1 }
#if defined(LIT) || defined(LITHALF)
  :: atomic { up[i] && send[i]==PLAIN && (rx[i]||tx[i]) -> if :: send[j]==PLAIN -> fe[j]=0 :: else fi; rx[i]=0; tx[i]=0; CHK }
#elif defined(SYMACK)
  :: atomic { up[i] && send[i]==PLAIN && hs[i] && ha[i] && (rx[i]||tx[i]) -> if :: send[j]==PLAIN -> fe[j]=0 :: else fi; rx[i]=0; tx[i]=0; CHK }
#else
  :: atomic { up[i] && i==1 && send[i]==PLAIN && hs[i] && ha[i] && (rx[i]||tx[i]) -> if :: send[j]==PLAIN -> fe[j]=0 :: else fi; rx[i]=0; tx[i]=0; CHK }
  :: atomic { up[i] && i==1 && obj==1 && !rx[i] && !tx[i] -> obj=2 }                     /* finalizer removed */
  :: atomic { up[i] && i==0 && v[i]==2 && (rx[i]||tx[i]) && send[i]==PLAIN -> if :: send[j]==PLAIN -> fe[j]=0 :: else fi; rx[i]=0; tx[i]=0; CHK }
#endif
  :: atomic { up[i] && crash>0 -> crash--; up[i]=0; hr[i]=0; hs[i]=0; ha[i]=0 }
  :: atomic { !up[i] -> up[i]=1 }
  od }
proctype user() {
end:
  do
  :: atomic { obj==0 && flip -> obj=1; flip=0 }
#ifdef RECANT
  :: atomic { obj==1 && !flip -> obj=0 }
#endif
  od }
proctype mon() { timeout;
#ifndef RECANT
  assert(send[0]==PLAIN && send[1]==PLAIN && !rx[0] && !rx[1] && !tx[0] && !tx[1])
#endif
}
init { atomic { rx[0]=1; rx[1]=1; tx[0]=1; tx[1]=1; up[0]=1; up[1]=1; fe[0]=1; fe[1]=1;
  run node(0); run node(1); run user(); run mon() } }
