/* epoch.pml - one rotation e=0 -> e=1 seen by two nodes and the controller; pair machinery is abstracted: a pair works iff
 * both ends have published sessions of a common epoch (pair.pml shows that it then gets there).
 * phase: 0 Pending 1 Distributing 2 Switching 3 Retiring 4 Complete 5 Aborted. sec[i]: mask of epochs in i's Secret.
 * ses[i]: mask of epochs with a live session; use[i]: mask of epochs whose SAs i holds; vph[i], vse[i]: what i has seen
 * (phase; peer's sessions). The controller may stop for good at any moment; nodes reboot (sessions and SAs lost).
 * choice of epoch for a new session:
 *   NEWEST   (mutant) newest epoch in my own Secret
 *   (built)  every epoch the KeyRotation names as in use: "from" until Retiring, "to" from Switching on
 * mutants: EARLYRM  the controller removes K[0] when the published reports say so, the report may predate a reboot
 *   ABORTANY abort possible in Switching too: K[1] removed, sessions of epoch 1 withdrawn if not switched by me
 * Safety: with both agents up and views current, a common epoch exists (checked at rest, controller dead or alive). */
byte phase; byte sec[2]=1; byte ses[2]; byte use[2]; byte rep[2]; byte vph[2]; byte vse[2]; bit up[2]; bit dead; byte reboots=1; bit abt=1;
byte on[2];   /* epoch i sends with: 0,1, 2=blocked */
#define K(i) (sec[0]&sec[1])
proctype node(byte i) { byte j=1-i;
end:
  do
  :: atomic { up[i] && vph[i]!=phase -> vph[i]=phase }
  :: atomic { up[i] && vse[i]!=ses[j] -> vse[i]=ses[j] }
#ifdef NEWEST
  :: atomic { up[i] && ses[i]==0 -> if :: sec[i]&2 -> ses[i]=2 :: else -> ses[i]=1 fi }
  :: atomic { up[i] && vph[i]==2 && (sec[i]&2) && !(ses[i]&2) -> ses[i]=ses[i]|2 }
#else
  :: atomic { up[i] && (vph[i]<3 || vph[i]==5) && (sec[i]&1) && !(ses[i]&1) -> ses[i]=ses[i]|1 }
  :: atomic { up[i] && vph[i]>=2 && vph[i]!=5 && (sec[i]&2) && !(ses[i]&2) -> ses[i]=ses[i]|2 }
#endif
  /* common epoch -> SAs; both ends switch to the newest common one (abstract pair protocol) */
  :: atomic { up[i] && up[j] && (ses[i]&vse[i]&2) && (vse[j]&2) && !(use[i]&2) -> use[i]=use[i]|2 }
  :: atomic { up[i] && up[j] && (ses[i]&vse[i]&1) && (vse[j]&1) && !(use[i]&1) && !(on[i]==1) && vph[i]!=4 -> use[i]=use[i]|1 }
  :: atomic { up[i] && up[j] && (use[i]&use[j]&2) && on[i]!=1 -> on[i]=1 }
  :: atomic { up[i] && up[j] && (use[i]&use[j]&1) && on[i]==2 && !(use[i]&use[j]&2) -> on[i]=0 }
  :: atomic { up[i] && on[i]==1 && on[j]==1 && (use[i]&1) -> use[i]=use[i]&~1 }
  :: atomic { up[i] && vph[i]>=3 && vph[i]!=5 && on[i]==1 && !(use[i]&1) && (ses[i]&1) && (ses[i]&2) -> ses[i]=ses[i]&~1 } /* destroy x */
  :: atomic { up[i] && rep[i]!=(ses[i]|use[i]) -> rep[i]=ses[i]|use[i] }
#ifdef ABORTANY
  :: atomic { up[i] && vph[i]==5 && (ses[i]&2) && on[i]!=1 -> ses[i]=ses[i]&~2; use[i]=use[i]&~2 }
#endif
  :: atomic { up[i] && reboots>0 -> reboots--; up[i]=0; ses[i]=0; use[i]=0; on[i]=2; vse[i]=0;
       /* the peer's SAs of the dead sessions are dead as well */
       use[j]=0; on[j]=2 }
  :: atomic { !up[i] -> up[i]=1 }
  od }
proctype ctl() { byte k;
end:
  do
  :: atomic { !dead && phase==0 -> phase=1 }
  :: atomic { !dead && phase==1 && !(sec[0]&2) -> sec[0]=sec[0]|2 }
  :: atomic { !dead && phase==1 && !(sec[1]&2) -> sec[1]=sec[1]|2 }
  :: atomic { !dead && phase==1 && (sec[0]&sec[1]&2) -> phase=2 }
  :: atomic { !dead && phase==2 && (rep[0]&2) && (rep[1]&2) && on[0]==1 && on[1]==1 -> phase=3 }
#ifdef EARLYRM
  :: atomic { !dead && phase==3 && (sec[0]&1) && !(rep[0]&1) -> sec[0]=sec[0]&~1 }
  :: atomic { !dead && phase==3 && (sec[1]&1) && !(rep[1]&1) -> sec[1]=sec[1]&~1 }
#else
  :: atomic { !dead && phase==3 && (sec[0]&1) && !((rep[0]|rep[1])&1) -> sec[0]=2; sec[1]=2 }
#endif
  :: atomic { !dead && phase==3 && sec[0]==2 && sec[1]==2 -> phase=4 }
  :: atomic { !dead && abt && phase==1 -> abt=0; phase=5 }
#ifdef ABORTANY
  :: atomic { !dead && abt && phase==2 -> abt=0; phase=5 }
#endif
  :: atomic { !dead && phase==5 && ((sec[0]|sec[1])&2) -> sec[0]=sec[0]&~2; sec[1]=sec[1]&~2 }
  :: atomic { !dead -> dead=1 }
  od }
proctype mon() { timeout;
  assert(up[0] && up[1] && (ses[0]&ses[1])!=0);                            /* a common epoch, whoever died where */
  assert(on[0]!=2 && on[1]!=2 && on[0]==on[1]);
  assert(phase!=4 || (ses[0]==2 && ses[1]==2 && use[0]==2 && use[1]==2)) }
init { atomic { sec[1]=1; ses[0]=1; ses[1]=1; use[0]=1; use[1]=1; rep[0]=1; rep[1]=1; vse[0]=1; vse[1]=1; up[0]=1; up[1]=1;
  run node(0); run node(1); run ctl(); run mon() } }
