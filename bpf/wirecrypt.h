/* SPDX-License-Identifier: Apache-2.0 */
/*
 * What eBPF programs and user space share: marks, map layouts, reasons. The only definition: Python reads this file
 * (wirecrypt/kernel/bpf/header.py) and knows #define of a number, enum with explicit values, and struct of the types
 * __u8 to __u64 and arrays of them. Anything else is refused there. A map is pinned under a name that carries a hash
 * of the blocks its layout depends on, so a changed block makes a new map and all other maps stay.
 */
#ifndef WIRECRYPT_H
#define WIRECRYPT_H

/* Marks: one 8-bit field at a configurable shift, kind << 4 | lane. DECRYPTED has a slot added. Beside ENCRYPT the lane is a
 * number of the flow: the policies of each pair take the bits of it that choose one of the pair's lanes. */
#define WC_FIELD 0xff
#define WC_KIND_NONE 0
#define WC_KIND_ENCRYPT 1
#define WC_KIND_CONTROL 4
#define WC_KIND_DECRYPTED 8
#define WC_SLOTS 3

/* The nodeID of an SPI's sender: 16 bits above the lane. An SA of ours has its SPI as its reqid. */
#define WC_SPI_SENDER_SHIFT 4
#define WC_SPI_SENDER 0xffff

/* Limits. */
#define WC_PORTS 4
#define WC_ENTRIES_MAX 65536
#define WC_LINKS_MAX 4096
#define WC_PEERS_MAX 65536
#define WC_DATAGRAM_MIN 256
#define WC_DATAGRAMS_PER_SECOND 128
#define WC_EVENT_BYTES 65536
#define WC_EVENTS_PER_SECOND 64

/* Maps, as instructions name them until they are loaded; what each is made of stands in wirecrypt/kernel/bpf/pins.py. */
enum wc_map {
	WC_MAP_SETTINGS = 1,
	WC_MAP_PREFIXES4 = 2,
	WC_MAP_PREFIXES6 = 3,
	WC_MAP_LINKS = 4,
	WC_MAP_COUNTERS = 5,
	WC_MAP_PACE = 6,
	WC_MAP_EVENTS = 7,
	WC_MAP_EXEMPT = 8,
	WC_MAP_SENDERS = 9,
	WC_MAP_REFUSED = 10,
	WC_MAP_ADDRESSES4 = 11,
	WC_MAP_ADDRESSES6 = 12,
};

/* What is said of a prefix. DROP: an encrypted peer's pods. PASS: in clear by decision. UNKNOWN: inside the cluster's
 * ranges, nobody's claim. NODE: an encrypted peer's own address, where traffic between nodes is exempt: that of pods is
 * not. OWN: pods of this node. SEALED: an encrypted peer's own address, nothing but ESP of the pair passes, whoever
 * speaks. */
enum wc_action {
	WC_ACTION_DROP = 1,
	WC_ACTION_PASS = 2,
	WC_ACTION_UNKNOWN = 3,
	WC_ACTION_NODE = 4,
	WC_ACTION_OWN = 5,
	WC_ACTION_SEALED = 6,
};

/* Each packet counts exactly one reason. From WC_REASON_EGRESS_PEER_CLEARTEXT on they drop (permissive: would drop);
 * an ingress reason is its egress twin plus WC_INGRESS, where it has one. EVENTS_LOST counts events, not packets. */
#define WC_INGRESS 7
#define WC_REASONS 25
enum wc_reason {
	WC_REASON_PASSED = 0,
	WC_REASON_PASSED_PLAIN = 1,
	WC_REASON_NODE_TO_NODE = 2,
	WC_REASON_PASSED_ESP = 3,
	WC_REASON_PASSED_DECRYPTED = 4,
	WC_REASON_PASSED_NEIGHBOUR = 5,
	WC_REASON_PASSED_NOT_IP = 6,
	WC_REASON_PASSED_UNREADABLE = 7,
	WC_REASON_MARKED = 8,
	WC_REASON_EGRESS_PEER_CLEARTEXT = 9,
	WC_REASON_EGRESS_POD_NODE = 10,
	WC_REASON_EGRESS_UNKNOWN = 11,
	WC_REASON_EGRESS_OWN_PREFIX = 12,
	WC_REASON_EGRESS_CONTROL = 13,
	WC_REASON_EGRESS_UNREADABLE = 14,
	WC_REASON_EGRESS_NODE_CLEARTEXT = 15,
	WC_REASON_INGRESS_PEER_CLEARTEXT = 16,
	WC_REASON_INGRESS_POD_NODE = 17,
	WC_REASON_INGRESS_UNKNOWN = 18,
	WC_REASON_INGRESS_OWN_PREFIX = 19,
	WC_REASON_INGRESS_CONTROL = 20,
	WC_REASON_INGRESS_UNREADABLE = 21,
	WC_REASON_INGRESS_NODE_CLEARTEXT = 22,
	WC_REASON_INGRESS_WRONG_SENDER = 23,
	WC_REASON_EVENTS_LOST = 24,
};

/* One, at index 0. All zero is strict. Ports in host order, 0: unused. *esp_keeps_mark*: SAs made by an agent of before send,
 * which leave the mark of the packet inside on its ESP. *node* owns *own4* and *own6*, where its tunnels begin: their entries
 * say so as well, and need not be looked up; in network order, 0: none. *bare_links*: a link of ours may be without an Ethernet
 * header. */
struct wc_settings {
	__u32 mark_shift;
	__u32 permissive;
	__u16 control_port;
	__u16 esp_keeps_mark;
	__u32 bare_links;
	__u32 node;
	__u8 own4[4];
	__u8 own6[16];
	__u16 vxlan_ports[WC_PORTS];
	__u16 geneve_ports[WC_PORTS];
};

/* Keys of the longest-prefix maps: *length* in bits, address in network order. The programs take the beginning of a wc_key6 for a
 * wc_key4. A prefix of full length stands in the maps of addresses alone, whose key is the address: they are asked first. */
struct wc_key4 {
	__u32 length;
	__u8 address[4];
};

struct wc_key6 {
	__u32 length;
	__u8 address[16];
};

/* Actions by direction: *egress* judges packets to the prefix, *ingress* packets that claim to come from it. *node* is the
 * nodeID of the node that owns the prefix, the only one whose SAs may carry packets from it, and whose ESP may come from
 * it; 0: anyone's. */
struct wc_entry {
	__u8 egress;
	__u8 ingress;
	__u16 node;
};

/* By link index: bytes before the network header, and whether its clsact qdisc was made by us. */
struct wc_link {
	__u32 header;
	__u32 clsact_made;
};

/* One dropped packet. Addresses in network order, IPv4 in the first four bytes; ports in host order, 0: none. */
struct wc_event {
	__u32 ifindex;
	__u16 sport;
	__u16 dport;
	__u8 src[16];
	__u8 dst[16];
	__u8 family;
	__u8 proto;
	__u8 reason;
	__u8 egress;
};

/* Events of the current second on one CPU: *since* in nanoseconds of the monotonic clock. */
struct wc_pace {
	__u64 since;
	__u64 count;
};

/* Why the filter of the control port's sockets refuses a datagram; each counts at one. */
#define WC_REFUSALS 4
enum wc_refused {
	WC_REFUSED_UNKNOWN_SENDER = 0,
	WC_REFUSED_NOT_DECRYPTED = 1,
	WC_REFUSED_TOO_SHORT = 2,
	WC_REFUSED_TOO_MANY = 3,
};

/* An address of a peer's agent, in network order; one of IPv4 is mapped into IPv6 (RFC 4291, 2.5.5.2). */
struct wc_address {
	__u8 address[16];
};

/* What is taken of it: by which shift its SAs mark, and how many datagrams came in the current second (*since*, in nanoseconds of
 * the monotonic clock). */
struct wc_sender {
	__u64 since;
	__u32 count;
	__u32 mark_shift;
};

#endif
