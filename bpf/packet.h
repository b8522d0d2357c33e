/* SPDX-License-Identifier: Apache-2.0 OR GPL-2.0-only */
/*
 * Read a packet header by header: Ethernet, IPv4, IPv6, ports, and the tunnels that carry another packet. Each function
 * moves *off* behind what it has read; nothing is judged here and no map is touched.
 */
#ifndef WIRECRYPT_PACKET_H
#define WIRECRYPT_PACKET_H

#include <uapi/linux/bpf.h>
#include <uapi/linux/if_ether.h>
#include <uapi/linux/in.h>
#include <uapi/linux/ip.h>
#include <uapi/linux/ipv6.h>
#include "wirecrypt.h"

#define TAGS 3       /* VLAN tags per Ethernet header */
#define EXTENSIONS 8 /* extension headers per network header */

#define VLAN_8021Q 0x8100
#define VLAN_8021AD 0x88a8
#define VLAN_OLD 0x9100
#define ETHER_BRIDGING 0x6558
#define UDP_ESP_PORT 4500
#define FRAGMENT_OFFSET 0x1fff
#define PROTO_IPIP 4
#define PROTO_IPV6 41
#define PROTO_ROUTING 43
#define PROTO_FRAGMENT 44
#define PROTO_GRE 47
#define PROTO_ESP 50
#define PROTO_AH 51
#define PROTO_ICMPV6 58
#define HOP_LIMIT_LOCAL 255
#define SOLICITATION 135
#define ADVERTISEMENT 136
#define NEIGHBOUR_MAX 64 /* bytes of a message: 24, an address of InfiniBand's length in 24, a nonce in 8, and some */

/* What is known of a packet while it is read; *off* is where the next unread header stands. */
struct walk {
	__u32 off;
	__u32 reason;   /* of the levels read so far */
	__u8 ether;     /* an Ethernet header is next, else a network header */
	__u8 family;    /* 4, 6, or 0 before any network header */
	__u8 proto;     /* above the network header and its extensions */
	__u8 hop_limit;
	__u8 fragment;  /* a later fragment: no ports */
	__u8 level;
	__u16 peer; /* nodeID of the exempt peer by whose address it was judged */
	__u16 sport;
	__u16 dport;
	__be32 word;   /* the bytes at *word_at*, which came with an earlier read; 0: none did */
	__u32 word_at;
	struct wc_key6 src; /* keys of the guard's maps: that of an IPv4 address is the beginning of one of IPv6 */
	struct wc_key6 dst;
};

enum step { STEP_DONE, STEP_INNER, STEP_NOT_IP, STEP_UNREADABLE };

static __always_inline int read_bytes(struct __sk_buff *skb, const struct walk *w, __u32 at, void *to, __u32 size)
{
	return bpf_skb_load_bytes(skb, w->off + at, to, size);
}

/* The four bytes behind what was read: ports, or an SPI. */
static __always_inline int read_word(struct __sk_buff *skb, const struct walk *w, __be32 *word)
{
	if (w->off != w->word_at)
		return read_bytes(skb, w, 0, word, sizeof(*word));
	*word = w->word;
	return 0;
}

/* The beginning of a frame without tags, its network header where words are aligned; *word* follows on IPv4 without options. */
struct frame {
	__u16 pad;
	__u8 macs[2 * ETH_ALEN];
	__be16 type;
	struct iphdr ip;
	__be32 word;
};

#define FRAME_LEN (ETH_HLEN + sizeof(struct iphdr) + sizeof(__be32))

static __always_inline int is_ip(__u16 type)
{
	return type == ETH_P_IP || type == ETH_P_IPV6;
}

/* Ethernet with up to TAGS VLAN tags in the frame (a tag in the packet's metadata is no part of it). On the wire what
 * is not IP is none of ours; inside a tunnel it may carry anything, and only ARP is known to be harmless. */
static __always_inline enum step read_ethernet(struct __sk_buff *skb, struct walk *w)
{
	__be16 type = 0;
	__u32 i;

	w->off += 2 * ETH_ALEN;
#pragma nounroll
	for (i = 0; i <= TAGS; i++) {
		if (read_bytes(skb, w, 0, &type, sizeof(type)))
			return STEP_UNREADABLE;
		type = bpf_ntohs(type);
		w->off += sizeof(type);
		if (is_ip(type))
			return STEP_INNER;
		if (type != VLAN_8021Q && type != VLAN_8021AD && type != VLAN_OLD)
			return w->level && type != ETH_P_ARP ? STEP_UNREADABLE : STEP_NOT_IP;
		w->off += 2;
	}
	return STEP_UNREADABLE;
}

/* The authentication header counts in words of four bytes, less two (RFC 4302, 2.2). */
static __always_inline enum step skip_ah(struct __sk_buff *skb, struct walk *w)
{
	__u8 head[2];

	if (read_bytes(skb, w, 0, head, sizeof(head)))
		return STEP_UNREADABLE;
	w->proto = head[0];
	w->off += (head[1] + 2) * 4;
	return STEP_DONE;
}

static __always_inline enum step read_ipv4(struct walk *w, const struct iphdr *ip)
{
	if (ip->ihl < 5)
		return STEP_UNREADABLE;
	w->family = 4;
	w->proto = ip->protocol;
	w->hop_limit = ip->ttl;
	w->fragment = (bpf_ntohs(ip->frag_off) & FRAGMENT_OFFSET) != 0;
	w->src.length = w->dst.length = 8 * sizeof(ip->saddr);
	__builtin_memcpy(w->src.address, &ip->saddr, sizeof(ip->saddr));
	__builtin_memcpy(w->dst.address, &ip->daddr, sizeof(ip->daddr));
	w->off += ip->ihl * 4;
	return STEP_DONE;
}

/* *head* is the header's beginning. */
static __always_inline enum step read_ipv6(struct __sk_buff *skb, struct walk *w, const struct ipv6hdr *head)
{
	w->family = 6;
	w->proto = head->nexthdr;
	w->hop_limit = head->hop_limit;
	w->fragment = 0;
	w->src.length = w->dst.length = 8 * sizeof(head->saddr);
	if (read_bytes(skb, w, offsetof(struct ipv6hdr, saddr), w->src.address, sizeof(w->src.address)) ||
	    read_bytes(skb, w, offsetof(struct ipv6hdr, daddr), w->dst.address, sizeof(w->dst.address)))
		return STEP_UNREADABLE;
	w->off += sizeof(*head);
	return STEP_DONE;
}

/* A header that can stand between the network header and its payload (IANA, IPv6 Extension Header Types). */
static __always_inline int is_extension(__u8 proto)
{
	return proto == 0 || proto == PROTO_ROUTING || proto == PROTO_FRAGMENT || proto == PROTO_AH || proto == 60 ||
	       proto == 135 || proto == 139 || proto == 140;
}

/* One extension header; a routing header that still has somewhere to go hides the true destination. */
static __always_inline enum step skip_extension(struct __sk_buff *skb, struct walk *w)
{
	__u8 head[4];

	if (w->proto == PROTO_AH)
		return skip_ah(skb, w);
	if (read_bytes(skb, w, 0, head, sizeof(head)) || (w->proto == PROTO_ROUTING && head[3]))
		return STEP_UNREADABLE;
	if (w->proto == PROTO_FRAGMENT) {
		w->fragment = head[2] || head[3] & 0xf8;
		w->off += 8;
	} else {
		w->off += (head[1] + 1) * 8;
	}
	w->proto = head[0];
	return STEP_DONE;
}

/* Where this stops short, *proto* still names an extension, so nothing is taken for what the packet carries. */
static __always_inline enum step skip_extensions(struct __sk_buff *skb, struct walk *w)
{
	__u32 i;

	if (w->proto == PROTO_ESP)
		return STEP_DONE;
#pragma nounroll
	for (i = 0; !w->fragment && is_extension(w->proto); i++)
		if (i == EXTENSIONS || skip_extension(skb, w))
			return STEP_UNREADABLE;
	return STEP_DONE;
}

/* Ethernet, where it is next, and as much of the network header behind it as IPv4 has; without tags in one go, as most are. */
static __always_inline enum step read_link(struct __sk_buff *skb, struct walk *w, struct frame *frame)
{
	enum step step;

	if (w->ether && !read_bytes(skb, w, 0, frame->macs, FRAME_LEN) && is_ip(bpf_ntohs(frame->type))) {
		w->off += ETH_HLEN;
		w->word = frame->word;
		w->word_at = w->off + sizeof(frame->ip);
		return STEP_INNER;
	}
	w->word_at = 0;
	step = w->ether ? read_ethernet(skb, w) : STEP_INNER;
	if (step == STEP_INNER && read_bytes(skb, w, 0, &frame->ip, sizeof(frame->ip)))
		return STEP_UNREADABLE;
	return step;
}

/* The network header says itself which version it is: an Ethernet type may be wrong after decapsulation. */
static __always_inline enum step read_network(struct __sk_buff *skb, struct walk *w)
{
	struct frame frame;
	enum step step = read_link(skb, w, &frame);

	w->sport = w->dport = 0;
	if (step != STEP_INNER)
		return step;
	if (frame.ip.version == 4)
		return read_ipv4(w, &frame.ip);
	if (frame.ip.version == 6)
		return read_ipv6(skb, w, (const struct ipv6hdr *)&frame.ip);
	return STEP_UNREADABLE;
}

static __always_inline int has_port(const __u16 *ports, __u16 port)
{
	__u32 i;

#pragma nounroll
	for (i = 0; i < WC_PORTS; i++)
		if (ports[i] && ports[i] == port)
			return 1;
	return 0;
}

/* Geneve (RFC 8926, 3.4): options in words of four bytes, then Ethernet or a network header. */
static __always_inline enum step open_geneve(struct __sk_buff *skb, struct walk *w)
{
	__u8 head[4];
	__u16 type;

	if (read_bytes(skb, w, 8, head, sizeof(head)) || head[0] >> 6)
		return STEP_UNREADABLE;
	type = head[2] << 8 | head[3];
	w->off += 16 + (head[0] & 0x3f) * 4;
	w->ether = type == ETHER_BRIDGING;
	return w->ether || is_ip(type) ? STEP_INNER : STEP_UNREADABLE;
}

/* ESP by its protocol's number alone is somebody else's; between enabled nodes it stays what they were judged as. */
static __always_inline void pass_esp(struct walk *w)
{
	if (w->reason < WC_REASON_NODE_TO_NODE)
		w->reason = WC_REASON_PASSED_ESP;
}

/* UDP: VXLAN (RFC 7348, 5), Geneve, ESP (RFC 3948, 2.1: an SPI of zero is IKE), the control protocol in clear. */
static __always_inline enum step open_udp(struct __sk_buff *skb, struct walk *w, const struct wc_settings *set)
{
	__be32 spi = 0;

	if (has_port(set->vxlan_ports, w->dport)) {
		w->off += 16;
		w->ether = 1;
		return STEP_INNER;
	}
	if (has_port(set->geneve_ports, w->dport))
		return open_geneve(skb, w);
	if (w->reason == WC_REASON_NODE_TO_NODE && set->control_port && w->dport == set->control_port)
		w->reason = WC_REASON_EGRESS_CONTROL;
	else if ((w->dport == UDP_ESP_PORT || w->sport == UDP_ESP_PORT) && !read_bytes(skb, w, 8, &spi, sizeof(spi)) && spi)
		pass_esp(w);
	return STEP_DONE;
}

/* GRE (RFC 2784, 2890): checksum, key and sequence are four bytes each; version 0 only. */
static __always_inline enum step open_gre(struct __sk_buff *skb, struct walk *w)
{
	__u8 head[4];
	__u16 type;

	if (read_bytes(skb, w, 0, head, sizeof(head)) || head[0] & 0x4f || head[1])
		return STEP_UNREADABLE;
	type = head[2] << 8 | head[3];
	w->off += 4 + 4 * (head[0] >> 7) + 4 * (head[0] >> 5 & 1) + 4 * (head[0] >> 4 & 1);
	w->ether = type == ETHER_BRIDGING;
	return w->ether || type == ETH_P_IP || type == ETH_P_IPV6 ? STEP_INNER : STEP_UNREADABLE;
}

static __always_inline int has_ports(__u8 proto)
{
	return proto == IPPROTO_TCP || proto == IPPROTO_UDP || proto == IPPROTO_SCTP || proto == IPPROTO_UDPLITE ||
	       proto == IPPROTO_DCCP;
}

/* Protocols that carry no packet of somebody else: ICMP, IGMP, no next header, OSPF, PIM, VRRP. */
static __always_inline int is_plain(__u8 proto)
{
	return proto == IPPROTO_ICMP || proto == IPPROTO_IGMP || proto == PROTO_ICMPV6 || proto == 59 || proto == 89 ||
	       proto == 103 || proto == 112;
}

/* A later fragment of what may be a tunnel cannot be read; of the others it is judged by its addresses alone. */
static __always_inline enum step open_payload(struct __sk_buff *skb, struct walk *w, const struct wc_settings *set)
{
	if (w->proto == PROTO_ESP) {
		pass_esp(w);
		return STEP_DONE;
	}
	if (is_plain(w->proto))
		return STEP_DONE;
	if (w->fragment)
		return has_ports(w->proto) && w->proto != IPPROTO_UDP ? STEP_DONE : STEP_UNREADABLE;
	if (has_ports(w->proto))
		return w->proto == IPPROTO_UDP ? open_udp(skb, w, set) : STEP_DONE;
	w->ether = 0;
	if (w->proto == PROTO_IPIP || w->proto == PROTO_IPV6)
		return STEP_INNER;
	return w->proto == PROTO_GRE ? open_gre(skb, w) : STEP_UNREADABLE;
}

static __always_inline enum step read_ports(struct __sk_buff *skb, struct walk *w)
{
	__be32 ports;

	if (w->proto == PROTO_ESP || w->fragment || !has_ports(w->proto))
		return STEP_DONE;
	if (read_word(skb, w, &ports))
		return STEP_UNREADABLE;
	w->sport = bpf_ntohl(ports) >> 16;
	w->dport = bpf_ntohl(ports);
	return STEP_DONE;
}

/* Neighbour discovery that no router forwarded (RFC 4861, 7.1), not inside a tunnel, right behind the IPv6 header, and too
 * short to carry anything. Its other messages are of link-local addresses and groups, which no entry speaks of; a redirect
 * quotes a packet. */
static __always_inline int is_neighbour(struct __sk_buff *skb, const struct walk *w)
{
	__u8 head[2];

	if (w->proto != PROTO_ICMPV6 || w->level || w->family != 6 || w->hop_limit != HOP_LIMIT_LOCAL)
		return 0;
	if (skb->len > w->off + NEIGHBOUR_MAX || read_bytes(skb, w, 0, head, sizeof(head)))
		return 0;
	return (head[0] == SOLICITATION || head[0] == ADVERTISEMENT) && !head[1];
}

/* ICMP of either family. Errors and redirects quote packets, later fragments do not say what they are. */
static __always_inline int is_icmp(const struct walk *w)
{
	return w->proto == IPPROTO_ICMP || w->proto == PROTO_ICMPV6;
}

/* A group, or everyone on the link (RFC 1112, 4; RFC 4291, 2.7; RFC 919, 7). */
static __always_inline int is_to_group(const struct walk *w)
{
	const __u8 *dst = w->dst.address;

	if (w->family == 6)
		return dst[0] == 0xff;
	return dst[0] >> 4 == 0xe || (dst[0] & dst[1] & dst[2] & dst[3]) == 0xff;
}

#endif
