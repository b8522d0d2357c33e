"""A cluster on one machine: what may live here plays cloud, kubelet or observer, for tests, the demo and a person.

A lab is a real etcd and kube-apiserver on one side of a wire, and a guest kernel on the other in which every node is a network
namespace with its own /run, /sys, disk and boot id, and every pod is plugged in by a real CNI plugin. All of it lives in
network, mount and process namespaces of its own and vanishes with its supervisor process, however that dies. Needs root.

    from wirecrypt.lab import judge, kernels
    from wirecrypt.lab.wire.capture import Capture
    from wirecrypt.lab.streams import Tcp, Udp
    from wirecrypt.lab.lab import Lab

    with Lab.up(nodes=3, kernel=kernels.find(version="6.1")) as lab:      # node-1.. with pods a and b each; also find("host")
        lab.exec("node-1", ["ip", "xfrm", "state"]).stdout                # LabError when it fails; check=False gives .status
        lab.exec("pod/node-1/a", ["ping", "-c1", lab.pods["pod/node-2/a"].ip4])     # ip6 too
        server = lab.spawn("pod/node-2/a", ["nc", "-lu", "7"])            # .pid .kill(9) .wait() .stop() .log .output()
        lab.kubectl("label", "node", "node-1", "wirecrypt.io/encryption=enabled")   # lab.kubeconfig for other programs
        lab.apply(Path("overlays/example"))                               # kubectl apply -k, starts DaemonSets and Deployments
        agent = lab.kubelet.pod("wirecrypt-agent", "node-1")
        agent.kill(); agent.restart()                                     # kill -9, start again in the same pod
        agent.log(); agent.exec(["wirecrypt", "plan"]); agent.running
        lab.kubelet.sync()                                                # after a change of templates or nodes
        with Capture.start(lab, Path("wire.pcap")) as wire:               # all frames between nodes; error if one is missing
            flow = Udp.start(lab, "pod/node-1/a", "pod/node-2/b", family=6)     # numbered packets, 1000/s
            flow.stop().lost                                              # Tcp: every byte checked, retransmissions counted
            seen = wire.observe()                                         # later: judge.read(Path("wire.pcap"))
        seen.between(start, end).cleartext(["10.1.0.0/24"], ["10.2.0.0/24"])    # also in VXLAN; .esp(), .marked(flow.marker)
        lab.time()                                                        # the guest's clock, which stamps captures
        lab.stop_api(); lab.start_api(); lab.audit("patch"); lab.etcd_dump()
        lab.add_node(4); lab.remove_node("node-4"); lab.reboot("node-1"); lab.add_pod("node-1", "c")

Names for `exec` and `spawn`: `node-N`, `pod/node-N/LETTER`, `guest` (the namespace that holds the bridge `wire`), or a process
id of the guest (`agent.process.pid`). The guest's root is an overlay in memory over this machine's disk: programs
are where they are outside, and only `lab.folder`, this checkout and the cache can be written with effect outside.
A kernel that does not boot is a BootError: which one, its last words, the next step. User-mode Linux before 7.0 panics on a
processor with more state than it knows (AMX); `lab.xstate` finds out whether this is one, and then loads what completes it.
Addresses: node N is 192.0.2.(10+N) and fd00:2::(10+N) on link `upl`; its pods are in 10.N.0.0/24 and fd00:1N::/64.
"""
