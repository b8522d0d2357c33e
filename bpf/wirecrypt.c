/* SPDX-License-Identifier: Apache-2.0 OR GPL-2.0-only */
/*
 * wirecrypt's programs at tc: the mark of pod traffic, and the guard of the uplinks; and the filter of the agent's control port.
 *
 * The guard reads bytes, never what others noted about a packet (protocol, offsets, marks): all of it can be chosen by
 * a process with a packet socket. The one exception is the DECRYPTED mark at ingress, which only a receiving SA of
 * this network namespace can have set: marks do not cross a wire or a namespace. Which SA that was says who sent the
 * packet, and its source must be the sender's: the kernel's own check of that compares by the family of the inner
 * packet, four bytes of an IPv6 tunnel's addresses when it is IPv4 (__xfrm_policy_check, xfrm_state_addr_cmp). The
 * ENCRYPT mark at egress can be chosen as well, but believing it only ever drops more: it tells a pod's packet whose
 * source was replaced by the node's, and ESP that a pod wrote itself: a sending SA takes that mark off.
 *
 * A packet is read header by header, at most DEPTH network headers deep, and each level is judged by both its
 * addresses; the first level that must not be seen in clear decides. ESP passes only where node addresses (or foreign
 * ones) speak: an address of a pod is judged as cleartext whatever protocol the packet claims, or any pod could
 * write 50 into its header. Between enabled nodes only what names the owner of its source as its sender, by its SPI, is
 * ESP; other ESP is judged as cleartext. All passes end with TC_ACT_UNSPEC, so that filters of others behind ours still
 * run.
 *
 * Compiled by bcc, which knows nothing of the maps: the loader puts the descriptor of the pinned map into the place of each
 * number, so that compiling asks the kernel for nothing. Only UAPI types; loops are bounded.
 */
#include <uapi/linux/bpf.h>
#include <uapi/linux/pkt_cls.h>
#include "wirecrypt.h"
#include "packet.h"

#define DEPTH 3 /* network headers of one packet */
#define SAS 6 /* that one packet can have come out of: XFRM_MAX_DEPTH */
#define SECOND 1000000000ULL
#define UDP_HLEN 8

#define MAP(number) ((void *)bpf_pseudo_fd(BPF_PSEUDO_MAP_FD, number))

static __always_inline void count_reason(__u32 reason)
{
	__u64 *value = bpf_map_lookup_elem(MAP(WC_MAP_COUNTERS), &reason);

	if (value)
		*value += 1;
}

/* Cleartext between this node and an exempt peer, by the peer's nodeID: the sum is the count of that reason. */
static __always_inline void count_exempt(__u32 peer)
{
	__u64 none = 0, *value = bpf_map_lookup_elem(MAP(WC_MAP_EXEMPT), &peer);

	if (!value) {
		bpf_map_update_elem(MAP(WC_MAP_EXEMPT), &peer, &none, BPF_NOEXIST);
		value = bpf_map_lookup_elem(MAP(WC_MAP_EXEMPT), &peer);
	}
	if (value)
		*value += 1;
}

static __always_inline int too_many_events(void)
{
	__u32 zero = 0;
	__u64 now = bpf_ktime_get_ns();
	struct wc_pace *p = bpf_map_lookup_elem(MAP(WC_MAP_PACE), &zero);

	if (!p)
		return 1;
	if (now - p->since >= SECOND) {
		p->since = now;
		p->count = 0;
	}
	p->count += 1;
	return p->count > WC_EVENTS_PER_SECOND;
}

static __always_inline void report_drop(struct __sk_buff *skb, const struct walk *w, __u32 reason, int egress)
{
	struct wc_event event = {};

	event.ifindex = skb->ifindex;
	event.sport = w->sport;
	event.dport = w->dport;
	__builtin_memcpy(event.src, w->src.address, sizeof(event.src));
	__builtin_memcpy(event.dst, w->dst.address, sizeof(event.dst));
	if (w->family == 4) {
		__builtin_memset(event.src + 4, 0, sizeof(event.src) - 4);
		__builtin_memset(event.dst + 4, 0, sizeof(event.dst) - 4);
	}
	event.family = w->family;
	event.proto = w->proto;
	event.reason = reason;
	event.egress = egress;
	if (too_many_events() || bpf_ringbuf_output(MAP(WC_MAP_EVENTS), &event, sizeof(event), 0))
		count_reason(WC_REASON_EVENTS_LOST);
}

/* What is said of an address: of itself, as of every node's, or of the longest prefix around it. */
static __always_inline struct wc_entry *entry_of(const struct walk *w, struct wc_key6 *key)
{
	struct wc_entry *entry;

	if (w->family == 4) {
		entry = bpf_map_lookup_elem(MAP(WC_MAP_ADDRESSES4), key->address);
		return entry ? entry : bpf_map_lookup_elem(MAP(WC_MAP_PREFIXES4), key);
	}
	entry = bpf_map_lookup_elem(MAP(WC_MAP_ADDRESSES6), key->address);
	return entry ? entry : bpf_map_lookup_elem(MAP(WC_MAP_PREFIXES6), key);
}

static __always_inline __u32 action_of(const struct wc_entry *entry, int egress)
{
	if (!entry)
		return 0;
	return egress ? entry->egress : entry->ingress;
}

/* The kind that our field of the mark says, at the shift that it has. */
static __always_inline __u32 kind_at(struct __sk_buff *skb, __u32 shift)
{
	return skb->mark >> (shift & 31) >> 4 & 0xf;
}

static __always_inline __u32 kind_of(struct __sk_buff *skb, const struct wc_settings *set)
{
	return kind_at(skb, set->mark_shift);
}

static __always_inline int is_decrypted(struct __sk_buff *skb, __u32 shift)
{
	__u32 kind = kind_at(skb, shift);

	return kind >= WC_KIND_DECRYPTED && kind < WC_KIND_DECRYPTED + WC_SLOTS;
}

/* The nodeID of the sender by an SPI of ours. */
static __always_inline __u32 sender_in(__u32 spi)
{
	return spi >> WC_SPI_SENDER_SHIFT & WC_SPI_SENDER;
}

/* An address that this node's tunnels begin at. */
static __always_inline int is_own(const struct walk *w, const struct wc_settings *set, const struct wc_key6 *address)
{
	const __u32 *a = (const __u32 *)address->address, *own = (const __u32 *)set->own6;

	if (w->family == 4)
		return a[0] == *(const __u32 *)set->own4;
	return a[0] == own[0] && a[1] == own[1] && a[2] == own[2] && a[3] == own[3];
}

/* ESP whose SPI names the owner of the source as its sender. A later fragment has no SPI and is taken at its word: it is
 * worth nothing without the first one. */
static __always_inline int is_esp_of(struct __sk_buff *skb, const struct walk *w, __u32 owner)
{
	__be32 spi;

	if (w->proto != PROTO_ESP)
		return 0;
	if (w->fragment)
		return 1;
	if (!owner || read_word(skb, w, &spi))
		return 0;
	return sender_in(bpf_ntohl(spi)) == owner;
}

/* Between exempt nodes cleartext passes, but none of a pod, whatever its source says, and no ICMP: its errors quote packets that
 * may have come in ESP, and its fragments do not say what they are. */
static __always_inline __u32 judge_exempt(struct __sk_buff *skb, struct walk *w, const struct wc_settings *set,
					  const struct wc_entry *remote, int egress)
{
	struct wc_key6 *here = egress ? &w->src : &w->dst;
	int of_pod = egress && kind_of(skb, set) == WC_KIND_ENCRYPT;
	__u32 local = 0, owner = set->node;

	if (!is_own(w, set, here)) {
		struct wc_entry *entry = entry_of(w, here);

		local = action_of(entry, egress);
		owner = entry ? entry->node : 0;
	}

	if (local == WC_ACTION_OWN || local == WC_ACTION_DROP)
		return WC_REASON_EGRESS_POD_NODE;
	if (local == WC_ACTION_UNKNOWN)
		return WC_REASON_EGRESS_UNKNOWN;
	if ((!of_pod || set->esp_keeps_mark) && is_esp_of(skb, w, egress ? owner : remote->node))
		return WC_REASON_PASSED_ESP;
	if (of_pod)
		return WC_REASON_EGRESS_POD_NODE;
	return is_icmp(w) && !is_to_group(w) ? WC_REASON_EGRESS_NODE_CLEARTEXT : WC_REASON_NODE_TO_NODE;
}

/* At a sealed address only ESP of the pair passes, and what comes from it for a group: that is no node, so no pair has a
 * key for it. Inside a tunnel of others neither does. */
static __always_inline __u32 judge_sealed(const struct walk *w, __u32 as_exempt, int egress)
{
	if (w->level)
		return WC_REASON_EGRESS_NODE_CLEARTEXT;
	if (as_exempt == WC_REASON_PASSED_ESP)
		return as_exempt;
	return !egress && is_to_group(w) ? WC_REASON_PASSED : WC_REASON_EGRESS_NODE_CLEARTEXT;
}

/* The judged end is the remote one: the destination at egress, the source at ingress. A reason as at egress. */
static __always_inline __u32 judge_level(struct __sk_buff *skb, struct walk *w, const struct wc_settings *set, int egress)
{
	struct wc_entry *entry = entry_of(w, egress ? &w->dst : &w->src);
	__u32 remote = action_of(entry, egress), reason;

	if (remote == WC_ACTION_DROP)
		return WC_REASON_EGRESS_PEER_CLEARTEXT;
	if (remote == WC_ACTION_UNKNOWN)
		return WC_REASON_EGRESS_UNKNOWN;
	if (remote == WC_ACTION_OWN)
		return WC_REASON_EGRESS_OWN_PREFIX;
	if (remote == WC_ACTION_PASS)
		return WC_REASON_PASSED_PLAIN;
	if (remote != WC_ACTION_NODE && remote != WC_ACTION_SEALED)
		return WC_REASON_PASSED;
	w->peer = entry->node;
	reason = judge_exempt(skb, w, set, entry, egress);
	return remote == WC_ACTION_SEALED ? judge_sealed(w, reason, egress) : reason;
}

/* One network header and what it carries; STEP_INNER when another one follows. */
static __always_inline enum step read_level(struct __sk_buff *skb, struct walk *w, const struct wc_settings *set, int egress)
{
	enum step step, extensions;
	__u32 reason;

	step = read_network(skb, w);
	if (step)
		return step;
	if (is_neighbour(skb, w)) {
		w->reason = WC_REASON_PASSED_NEIGHBOUR;
		return STEP_DONE;
	}
	extensions = skip_extensions(skb, w);
	if (!extensions)
		extensions = read_ports(skb, w);
	reason = judge_level(skb, w, set, egress);
	if (reason > w->reason)
		w->reason = reason;
	if (reason >= WC_REASON_EGRESS_PEER_CLEARTEXT || reason == WC_REASON_PASSED_ESP)
		return STEP_DONE;
	return extensions ? STEP_UNREADABLE : open_payload(skb, w, set);
}

/* Read all levels and return the reason, as at egress. Between enabled nodes what cannot be read does not pass. */
static __always_inline __u32 read_packet(struct __sk_buff *skb, struct walk *w, const struct wc_settings *set, int egress)
{
	enum step step;
	__u64 level = 0;

	do {
		w->level = level;
		step = read_level(skb, w, set, egress);
	} while (__builtin_expect(step == STEP_INNER, 0) && ++level < DEPTH);
	if (step == STEP_DONE)
		return w->reason;
	if (step == STEP_NOT_IP)
		return w->reason ? w->reason : WC_REASON_PASSED_NOT_IP;
	return w->reason == WC_REASON_NODE_TO_NODE ? WC_REASON_EGRESS_UNREADABLE : WC_REASON_PASSED_UNREADABLE;
}

/* Where no link is without an Ethernet header, as on most nodes, none is looked up. */
static __always_inline int begins_with_ether(struct __sk_buff *skb, const struct wc_settings *set)
{
	__u32 index = skb->ifindex;
	struct wc_link *link = set->bare_links ? bpf_map_lookup_elem(MAP(WC_MAP_LINKS), &index) : 0;

	return !link || link->header;
}

/* Count the packet and, where it must not pass, tell of it; return what becomes of it. */
static __always_inline int conclude(struct __sk_buff *skb, const struct walk *w, const struct wc_settings *set, __u32 reason,
				    int egress)
{
	if (reason == WC_REASON_NODE_TO_NODE)
		count_exempt(w->peer);
	else
		count_reason(reason);
	if (reason < WC_REASON_EGRESS_PEER_CLEARTEXT)
		return TC_ACT_UNSPEC;
	report_drop(skb, w, reason, egress);
	return set->permissive ? TC_ACT_UNSPEC : TC_ACT_SHOT;
}

/* The nodeID of the sender by the SA that the packet came out of last; 0 when that cannot be read or is none of ours. */
static __always_inline __u32 sender_of(struct __sk_buff *skb)
{
	struct bpf_xfrm_state state = {};
	__u32 spi = 0, i;

#pragma nounroll
	for (i = 0; i < SAS; i++) {
		if (bpf_skb_get_xfrm_state(skb, i, &state, sizeof(state), 0))
			break;
		spi = bpf_ntohl(state.spi) == state.reqid ? state.reqid : 0;
	}
	return sender_in(spi);
}

/* The SA's sender must own the source. What cannot be read is nobody's. A source that no peer owns is anyone's: a router's error
 * message comes from an address that nobody listed. */
static __always_inline __u32 judge_decrypted(struct __sk_buff *skb, struct walk *w)
{
	enum step step = read_network(skb, w);
	struct wc_entry *entry;

	if (step == STEP_NOT_IP)
		return WC_REASON_PASSED_DECRYPTED; /* no source at all, so nobody's */
	if (step)
		return WC_REASON_INGRESS_WRONG_SENDER;
	entry = entry_of(w, &w->src);
	if (!entry || !entry->node || entry->node == sender_of(skb))
		return WC_REASON_PASSED_DECRYPTED;
	if (!skip_extensions(skb, w))
		read_ports(skb, w); /* for the event */
	return WC_REASON_INGRESS_WRONG_SENDER;
}

static __always_inline __u32 judge_ingress(struct __sk_buff *skb, struct walk *w, const struct wc_settings *set)
{
	__u32 reason;

	if (is_decrypted(skb, set->mark_shift))
		return judge_decrypted(skb, w);
	reason = read_packet(skb, w, set, 0);
	return reason < WC_REASON_EGRESS_PEER_CLEARTEXT ? reason : reason + WC_INGRESS;
}

/* Every frame of a pod gets our field overwritten, whatever it came with; the other bits of the mark stay. */
int wirecrypt_mark(struct __sk_buff *skb)
{
	__u32 zero = 0, shift;
	struct wc_settings *set = bpf_map_lookup_elem(MAP(WC_MAP_SETTINGS), &zero);

	if (!set)
		return TC_ACT_SHOT;
	shift = set->mark_shift & 31;
	skb->mark = (skb->mark & ~(WC_FIELD << shift)) | (WC_KIND_ENCRYPT << 4 | (bpf_get_hash_recalc(skb) & 0xf)) << shift;
	count_reason(WC_REASON_MARKED);
	return TC_ACT_UNSPEC;
}

int wirecrypt_guard_egress(struct __sk_buff *skb)
{
	struct walk w = {};
	__u32 zero = 0;
	struct wc_settings *set = bpf_map_lookup_elem(MAP(WC_MAP_SETTINGS), &zero);

	if (!set)
		return TC_ACT_SHOT;
	w.ether = begins_with_ether(skb, set);
	return conclude(skb, &w, set, read_packet(skb, &w, set, 1), 1);
}

int wirecrypt_guard_ingress(struct __sk_buff *skb)
{
	struct walk w = {};
	__u32 zero = 0;
	struct wc_settings *set = bpf_map_lookup_elem(MAP(WC_MAP_SETTINGS), &zero);

	if (!set)
		return TC_ACT_SHOT;
	w.ether = begins_with_ether(skb, set);
	return conclude(skb, &w, set, judge_ingress(skb, &w, set), 0);
}

static __always_inline int refuse_datagram(__u32 why)
{
	__u64 *value = bpf_map_lookup_elem(MAP(WC_MAP_REFUSED), &why);

	if (value)
		*value += 1;
	return 0;
}

/* The source by the network header, which says itself which version it is. */
static __always_inline int read_source(struct __sk_buff *skb, struct wc_address *from)
{
	__u8 first;

	if (bpf_skb_load_bytes_relative(skb, 0, &first, sizeof(first), BPF_HDR_START_NET))
		return -1;
	if (first >> 4 == 6)
		return bpf_skb_load_bytes_relative(skb, offsetof(struct ipv6hdr, saddr), from->address, 16, BPF_HDR_START_NET);
	from->address[10] = from->address[11] = 0xff;
	return bpf_skb_load_bytes_relative(skb, offsetof(struct iphdr, saddr), from->address + 12, 4, BPF_HDR_START_NET);
}

static __always_inline int too_many_datagrams(struct wc_sender *sender)
{
	__u64 now = bpf_ktime_get_ns();

	if (now - sender->since >= SECOND) {
		sender->since = now;
		sender->count = 0;
	}
	sender->count += 1;
	return sender->count > WC_DATAGRAMS_PER_SECOND;
}

/* The control port hears what a peer's SA brought from the address of that peer's agent, of the size of a control datagram, and not
 * more of it than an agent takes. Pods' datagrams come from other addresses: under their node's they are blocked where they are
 * sent, for want of the agent's mark. At a socket of UDP *skb* begins with that header. */
int wirecrypt_control(struct __sk_buff *skb)
{
	struct wc_address from = {};
	struct wc_sender *sender;

	sender = read_source(skb, &from) ? 0 : bpf_map_lookup_elem(MAP(WC_MAP_SENDERS), &from);
	if (!sender)
		return refuse_datagram(WC_REFUSED_UNKNOWN_SENDER);
	if (!is_decrypted(skb, sender->mark_shift))
		return refuse_datagram(WC_REFUSED_NOT_DECRYPTED);
	if (skb->len < UDP_HLEN + WC_DATAGRAM_MIN)
		return refuse_datagram(WC_REFUSED_TOO_SHORT);
	if (too_many_datagrams(sender))
		return refuse_datagram(WC_REFUSED_TOO_MANY);
	return skb->len;
}
