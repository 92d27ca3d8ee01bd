//! Whole frames through [`Processor::process`]: the link's forms, bad input, the journal's answers, and arbitrary bytes.

use std::net::Ipv4Addr;

use arrayvec::ArrayVec;
use dhcproto::v4::MessageType::{Ack, Offer};
use proptest::{collection::vec, prelude::*, sample::Index};

use super::{BATCH, Disposition, Frame};
use crate::{
    engine::testing::{Answer, Bed, Checksum, FakeLane, Msg, SERVER, discover, far, lan, message, request, selecting},
    wire::{dhcp::MessageType, options::code},
    worker::counters::{DropReason, Message},
};

// The whole way

#[test]
fn discover_offer_request_ack_through_frames() {
    let mut bed = Bed::new();
    let offer = bed.reply(&discover(1));
    assert_eq!(offer.message_type(), Offer);
    let ack = bed.reply(&selecting(1, SERVER, offer.yiaddr()));
    assert_eq!((ack.message_type(), ack.yiaddr(), ack.parked), (Ack, offer.yiaddr(), true));
    let counts = bed.snapshot().messages;
    let of = |message: Message| counts[message as usize];
    assert_eq!((of(Message::Discover), of(Message::Offer)), (1, 1));
    assert_eq!((of(Message::Request), of(Message::Ack), of(Message::Nak)), (1, 1, 0));
}

#[test]
fn a_full_batch_gives_each_client_its_own_reply() {
    let mut bed = Bed::with(|config| config.subnets[0].pools[0].last = lan(100));
    let id = |n: u8| [0, n, n, n];
    let discovers: Vec<_> = (1..=64).map(|n| discover(n).option(code::CLIENT_ID, &id(n)).frame()).collect();
    let offers = bed.frames(&discovers);
    let requests: Vec<_> = (1u8..)
        .zip(&offers)
        .map(|(n, offer)| {
            let offer = offer.as_ref().unwrap();
            assert_eq!(offer.option(code::CLIENT_ID), Some(&id(n)[..]));
            assert_eq!(offer.message.chaddr()[5], n);
            selecting(n, SERVER, offer.yiaddr()).option(code::CLIENT_ID, &id(n)).frame()
        })
        .collect();
    let mut bound: Vec<_> = bed.frames(&requests).into_iter().map(|ack| ack.unwrap().yiaddr()).collect();
    bound.sort();
    bound.dedup();
    assert_eq!(bound.len(), BATCH);
}

#[test]
fn an_empty_batch_is_nothing() {
    let mut bed = Bed::new();
    assert!(bed.frames(&[]).is_empty());
    assert_eq!(bed.snapshot().received, 0);
}

#[test]
fn echoes_of_a_batch_at_their_longest_do_not_mix_and_its_memory_is_lent_no_longer() {
    let mut bed = Bed::with(|config| config.subnets[0].pools[0].last = lan(100));
    let len = |bed: &Bed| bed.processor.memory.each_ref().map(|memory| memory.len());
    let lent = len(&bed);
    let frames: Vec<_> = (1..=64)
        .map(|n| {
            discover(n)
                .option(code::CLIENT_ID, &[n; 255])
                .option(code::RELAY_AGENT_INFO, &[n ^ 0x80; 255])
                .option(code::PARAMETER_REQUEST_LIST, &[3; 255])
                .option(code::MAX_MESSAGE_SIZE, &1400u16.to_be_bytes())
                .frame()
        })
        .collect();
    for (n, offer) in (1u8..).zip(bed.frames(&frames)) {
        let offer = offer.unwrap();
        assert_eq!(offer.option(code::CLIENT_ID), Some(&[n; 255][..]));
        assert_eq!(offer.option(code::RELAY_AGENT_INFO), Some(&[n ^ 0x80; 255][..]));
    }
    assert_eq!(len(&bed), lent);
}

// The link

#[test]
fn vlan_tags_are_mirrored_as_they_came() {
    let (inner, outer) = ((0x8100, 0xa064), (0x88a8, 0x6007));
    for tags in [vec![], vec![inner], vec![outer, inner], vec![inner, inner]] {
        let msg = discover(1).with(|msg| msg.tags = tags.clone());
        let sent = msg.frame();
        let offer = Bed::new().reply(&msg);
        let end = 14 + 4 * tags.len();
        assert_eq!(offer.frame[12..end], sent[12..end], "{tags:x?}");
    }
}

#[test]
fn three_vlan_tags_are_not_ours() {
    let msg = discover(1).with(|msg| msg.tags = vec![(0x88a8, 1), (0x8100, 2), (0x8100, 3)]);
    assert_eq!(Bed::new().dropped(&msg), DropReason::NotOurs);
}

#[test]
fn ipv4_options_of_a_request_are_read_past_and_not_sent_back() {
    for len in [4, 40] {
        let msg = discover(1).with(|msg| msg.ip_options = vec![1; len]).option(code::CLIENT_ID, b"\0id");
        let offer = Bed::new().reply(&msg);
        assert_eq!(offer.message_type(), Offer);
        assert_eq!(offer.option(code::CLIENT_ID), Some(&b"\0id"[..]));
    }
}

#[test]
fn ethernet_padding_after_a_datagram_is_not_part_of_it() {
    let mut frame = discover(1).frame();
    frame.extend([0xff; 40]);
    assert!(Bed::new().frames(&[frame])[0].is_ok());
}

#[test]
fn a_udp_checksum_may_be_right_absent_or_left_to_hardware() {
    for checksum in [Checksum::Right, Checksum::Absent, Checksum::Partial] {
        let msg = discover(1).with(|msg| msg.checksum = checksum);
        assert_eq!(Bed::new().reply(&msg).message_type(), Offer, "{checksum:?}");
    }
}

#[test]
fn a_wrong_udp_checksum_is_dropped_where_the_configuration_asks_for_it() {
    let msg = discover(1).with(|msg| msg.checksum = Checksum::Wrong);
    assert_eq!(Bed::new().dropped(&msg), DropReason::BadUdpChecksum);
    let mut lenient = Bed::with(|config| config.verify_udp_checksum = false);
    assert_eq!(lenient.reply(&msg).message_type(), Offer);
}

// Bad input, each with its name

/// The reason why a frame changed like this is dropped. The IPv4 checksum is made right again, UDP's is absent.
fn dropped_after(change: impl FnOnce(&mut Vec<u8>)) -> DropReason {
    let mut frame = discover(1).frame();
    change(&mut frame);
    mend_ipv4(&mut frame);
    Bed::new().frames(&[frame]).remove(0).expect_err("a reason")
}

/// Makes an untagged frame's IPv4 checksum right and its UDP checksum absent, where those fields are.
fn mend_ipv4(frame: &mut [u8]) {
    if frame.len() < 42 {
        return;
    }
    let len = usize::from(frame[14] & 15) * 4;
    let udp = 14 + len;
    if frame.len() >= udp + 8 {
        frame[udp + 6..udp + 8].fill(0);
    }
    frame[24..26].fill(0);
    if let Some(header) = frame.get(14..14 + len) {
        let words = header.chunks_exact(2).map(|word| u32::from(u16::from_be_bytes([word[0], word[1]])));
        let mut sum: u32 = words.sum();
        while sum > 0xffff {
            sum = (sum & 0xffff) + (sum >> 16);
        }
        frame[24..26].copy_from_slice(&(!(sum as u16)).to_be_bytes());
    }
}

#[test]
fn a_frame_cut_anywhere_is_dropped_as_truncated() {
    let whole = discover(1).frame();
    let mut bed = Bed::new();
    for len in 0..whole.len() {
        let cut = vec![whole[..len].to_vec()];
        assert_eq!(bed.frames(&cut)[0].as_ref().unwrap_err(), &DropReason::Truncated, "{len} bytes");
    }
    assert!(bed.frames(&[whole])[0].is_ok());
}

#[test]
fn a_length_beyond_the_buffer_is_dropped_as_truncated() {
    let mut bed = Bed::new();
    let mut buffer = discover(1).frame();
    let len = buffer.len() + 1;
    let mut out = ArrayVec::new();
    bed.processor.process(bed.now_s, &mut [Frame { buffer: &mut buffer, len }], &mut out);
    assert_eq!(out[..], [Disposition::Drop(DropReason::Truncated)]);
}

#[test]
fn ipv4_lengths_that_lie_are_dropped_as_truncated() {
    assert_eq!(dropped_after(|frame| frame[14] = 0x44), DropReason::Truncated, "a header of 16 bytes");
    assert_eq!(dropped_after(|frame| frame[16] = 0x7f), DropReason::Truncated, "a total length past the frame");
    assert_eq!(dropped_after(|frame| frame[16..18].fill(0)), DropReason::Truncated, "a total length of nothing");
}

#[test]
fn a_wrong_ipv4_checksum_is_dropped() {
    let mut frame = discover(1).frame();
    frame[24] ^= 1;
    assert_eq!(Bed::new().frames(&[frame])[0].as_ref().unwrap_err(), &DropReason::BadIpChecksum);
}

#[test]
fn udp_lengths_that_lie_are_dropped() {
    for bad in [[0, 0], [0, 7], [0xff, 0xff]] {
        assert_eq!(dropped_after(|frame| frame[38..40].copy_from_slice(&bad)), DropReason::BadUdpLength, "{bad:?}");
    }
    assert_eq!(dropped_after(|frame| frame[16..18].copy_from_slice(&[0, 27])), DropReason::BadUdpLength);
    let short = dropped_after(|frame| frame[38..40].copy_from_slice(&247u16.to_be_bytes()));
    assert_eq!(short, DropReason::BootpTooShort);
}

#[test]
fn what_xdp_should_have_passed_is_not_ours() {
    let cases: [(&str, usize, u8); 7] = [
        ("ARP", 13, 0x06),
        ("IPv6 in the version field", 14, 0x65),
        ("TCP", 23, 6),
        ("first fragment", 20, 0x20),
        ("later fragment", 21, 1),
        ("another port", 37, 68),
        ("BOOTREPLY", 42, 2),
    ];
    for (what, at, value) in cases {
        assert_eq!(dropped_after(|frame| frame[at] = value), DropReason::NotOurs, "{what}");
    }
}

#[test]
fn an_hlen_over_16_and_a_wrong_cookie_have_their_names() {
    assert_eq!(Bed::new().dropped(&discover(1).with(|msg| msg.hlen = 17)), DropReason::BadHlen);
    assert_eq!(Bed::new().dropped(&discover(1).with(|msg| msg.cookie = [99, 130, 83, 98])), DropReason::BadCookie);
}

#[test]
fn options_that_run_past_the_end_are_dropped() {
    for tail in [vec![12, 5, b'a'], vec![12], vec![code::RELAY_AGENT_INFO, 1]] {
        assert_eq!(Bed::new().dropped(&discover(1).with(|msg| msg.tail = tail)), DropReason::BadOption);
    }
}

#[test]
fn fixed_length_options_of_another_length_are_dropped() {
    let fixed = [(50u8, 4), (51, 4), (53, 1), (54, 4), (57, 2), (52, 1)];
    for (code, right) in fixed {
        for len in (0..=right + 1).filter(|&len| len != right) {
            let mut msg = discover(1);
            msg.options.retain(|(c, _)| *c != code);
            assert_eq!(Bed::new().dropped(&msg.option(code, &vec![1; len])), DropReason::BadOption, "{code}: {len}");
        }
    }
    assert_eq!(Bed::new().dropped(&discover(1).option(code::CLIENT_ID, &[1])), DropReason::BadOption);
}

#[test]
fn an_option_that_comes_twice_is_joined_and_then_too_long_for_its_type() {
    for (code, len) in [(50u8, 4), (51, 4), (53, 1), (54, 4), (57, 2)] {
        let msg = discover(1).option(code, &vec![1; len]).option(code, &vec![1; len]);
        assert_eq!(Bed::new().dropped(&msg), DropReason::BadOption, "{code}");
    }
    for code in [55u8, 60, 61, 82, 93, 118] {
        let msg = discover(1).option(code, b"abc").option(code, b"abc");
        assert!(Bed::new().send(&msg).is_ok(), "{code}");
    }
}

#[test]
fn plain_bootp_where_it_is_not_served_and_messages_of_servers_have_their_names() {
    let mut msg = discover(1);
    msg.options.clear();
    assert_eq!(Bed::new().dropped(&msg), DropReason::NoMessageType);
    for odd in [MessageType::Offer, MessageType::Ack, MessageType::Nak, 0.into(), 13.into(), 255.into()] {
        assert_eq!(Bed::new().dropped(&message(odd, 1)), DropReason::UnexpectedMessageType, "{odd:?}");
    }
}

#[test]
fn a_missing_end_option_is_forgiven() {
    assert!(Bed::new().send(&discover(1).with(|msg| msg.tail.clear())).is_ok());
}

#[test]
fn options_in_file_and_sname_are_read_when_overloaded_and_only_then() {
    let full = |overload: Option<u8>| {
        let mut msg = discover(1).with(|msg| {
            msg.file[..6].copy_from_slice(&[50, 4, 192, 0, 2, 16]);
            msg.sname[..7].copy_from_slice(&[0, 61, 3, 0, 1, 2, 255]);
        });
        msg.options.extend(overload.map(|value| (code::OVERLOAD, vec![value])));
        Bed::new().reply(&msg)
    };
    let id = Some(&[0, 1, 2][..]);
    assert_eq!((full(Some(3)).yiaddr(), full(Some(3)).option(61)), (lan(16), id));
    assert_eq!((full(Some(1)).yiaddr(), full(Some(1)).option(61)), (lan(16), None));
    assert_ne!(full(Some(2)).yiaddr(), lan(16));
    assert_eq!(full(Some(2)).option(61), id);
    assert_ne!(full(None).yiaddr(), lan(16));
    assert_eq!(full(None).option(61), None);
    for bad in [0, 4, 255] {
        assert_eq!(Bed::new().dropped(&discover(1).option(code::OVERLOAD, &[bad])), DropReason::BadOption);
    }
}

#[test]
fn a_buffer_too_short_for_a_reply_changes_nothing() {
    let mut bed = Bed::new();
    let mut buffer = selecting(1, SERVER, lan(11)).frame();
    let len = buffer.len();
    let mut out = ArrayVec::new();
    bed.processor.process(bed.now_s, &mut [Frame { buffer: &mut buffer, len }], &mut out);
    assert_eq!(out[..], [Disposition::Drop(DropReason::ReplyTooLong)]);
    assert!(bed.records().is_empty());
    assert_eq!(bed.leases.iter(bed.now_s).count(), 0);
}

// The journal

#[test]
fn a_full_journal_refuses_changes_before_the_table_is_touched() {
    let mut bed = Bed::with_lane(|_| {}, FakeLane { full: true, ..FakeLane::default() });
    assert_eq!(bed.dropped(&selecting(1, SERVER, lan(11))), DropReason::JournalFull);
    assert_eq!(bed.leases.iter(bed.now_s).count(), 0);
    assert!(bed.send(&discover(1)).is_ok(), "an offer needs no journal");
    assert!(bed.send(&message(MessageType::Inform, 1).unicast(lan(99))).is_ok(), "nor does an INFORM");
}

#[test]
fn without_sync_an_ack_leaves_at_once_and_is_journaled_all_the_same() {
    let mut bed = Bed::with_lane(|_| {}, FakeLane { never_parks: true, ..FakeLane::default() });
    let ack = bed.reply(&selecting(1, SERVER, lan(11)));
    assert_eq!((ack.message_type(), ack.parked), (Ack, false));
    assert_eq!(bed.records().len(), 1);
}

// Arbitrary input

/// Any client message that is well formed in itself.
fn any_msg() -> impl Strategy<Value = Msg> {
    let address = || {
        (prop_oneof![Just(lan(0)), Just(far(0)), Just(Ipv4Addr::from(0xac10_0000))], 0u32..32)
            .prop_map(|(net, host)| Ipv4Addr::from(u32::from(net) + host))
    };
    let read = prop::sample::select(vec![12u8, 50, 51, 52, 54, 55, 57, 60, 61, 82, 121]);
    let option = (read, vec(any::<u8>(), 0..40)).prop_map(|(code, mut data)| {
        // Mostly of the right length, so that most messages get past the parser.
        match code {
            50 | 51 | 54 => data.resize(4, 1),
            52 => data = vec![data.len() as u8 % 3 + 1],
            57 => data.resize(2, 3),
            61 => data.resize(data.len().max(2), 0),
            _ => {}
        }
        (code, data)
    });
    let fields = (1u8..9, 1u8..6, any::<bool>(), any::<bool>(), any::<bool>(), any::<u16>(), 0u8..17);
    (fields, address(), prop::option::of(address()), vec(option, 0..6)).prop_map(
        |((kind, n, relayed, unicast, ours, flags, hlen), address, requested, options)| {
            let mut msg = message(kind.into(), n);
            msg.hlen = hlen;
            msg.flags = flags;
            if unicast {
                msg = msg.unicast(address);
            }
            if relayed {
                msg = msg.relayed();
            }
            if ours {
                msg = msg.address(code::SERVER_ID, SERVER);
            }
            if let Some(requested) = requested {
                msg = msg.address(code::REQUESTED_ADDRESS, requested);
            }
            msg.options.extend(options);
            msg
        },
    )
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(400))]

    #[test]
    fn arbitrary_bytes_never_panic_and_the_ledger_closes(frames in vec(vec(any::<u8>(), 0..700), 0..=BATCH)) {
        Bed::new().frames(&frames);
    }

    #[test]
    fn arbitrary_bytes_behind_good_headers_never_panic(payload in vec(any::<u8>(), 240..700), cookie: bool) {
        let mut msg = discover(1);
        msg.options.clear();
        msg.tail = payload[240..].to_vec();
        let mut frame = msg.frame();
        if !cookie {
            frame[42 + 1..42 + 236].copy_from_slice(&payload[1..236]);
        }
        mend_ipv4(&mut frame);
        let answer = Bed::new().frames(&[frame]).remove(0);
        prop_assert!(!matches!(answer, Err(DropReason::BadIpChecksum | DropReason::BadUdpChecksum | DropReason::NotOurs)));
    }

    /// A reply is made of its request, the configuration and the lease alone.
    #[test]
    fn nothing_of_what_others_left_in_memory_is_in_a_reply(batches in vec(vec(any_msg(), 1..6), 1..6)) {
        let settled = || Bed::with(|config| config.subnets.iter_mut().for_each(|subnet| subnet.bootp_lease_s = Some(60)));
        let (mut one, mut other) = (settled(), settled());
        for msgs in &batches {
            other.processor.memory.iter_mut().for_each(|memory| memory.fill(0x5a));
            let frames: Vec<_> = msgs.iter().map(Msg::frame).collect();
            let sent = |answers: Vec<Result<Answer, DropReason>>| -> Vec<_> {
                answers.into_iter().map(|answer| answer.map(|answer| answer.frame)).collect()
            };
            prop_assert_eq!(sent(one.frames_over(0, &frames)), sent(other.frames_over(0xa5, &frames)));
        }
    }

    #[test]
    fn mutated_requests_never_panic_and_the_ledger_closes(
        msgs in vec(any_msg(), 1..8),
        mutations in vec((any::<Index>(), any::<u8>()), 0..6),
        cut in any::<Index>(),
        is_cut: bool,
    ) {
        let mut bed = Bed::new();
        let frames: Vec<_> = msgs
            .iter()
            .map(|msg| {
                let mut frame = msg.frame();
                for (at, value) in &mutations {
                    let at = at.index(frame.len());
                    frame[at] ^= value;
                }
                if is_cut {
                    frame.truncate(cut.index(frame.len()));
                }
                mend_ipv4(&mut frame);
                frame
            })
            .collect();
        bed.frames(&frames);
    }

    /// Whatever clients say, in whatever order: an address that a client was told is its own until some time is nobody
    /// else's before that, and every address is of the pool.
    #[test]
    fn no_sequence_of_messages_binds_an_address_twice(steps in vec((any_step(), 0u32..900), 1..80)) {
        let mut bed = Bed::with(|config| config.subnets[0].pools[0].last = lan(13));
        // Client and address of each promise, and when it ends.
        let mut promises: Vec<(u8, Ipv4Addr, u32)> = Vec::new();
        for (msg, pause) in steps {
            bed.pass(pause);
            let client = msg.chaddr[5];
            promises.retain(|&(.., until_s)| until_s > bed.now_s);
            match bed.send(&msg) {
                Ok(answer) if answer.message_type() == Ack => {
                    let address = answer.yiaddr();
                    prop_assert!((lan(10)..=lan(13)).contains(&address));
                    // A client has one address: an older promise to it is void.
                    promises.retain(|&(holder, ..)| holder != client);
                    for &(holder, promised, _) in &promises {
                        prop_assert!(promised != address, "{address} of client {holder} given to client {client}");
                    }
                    promises.push((client, address, bed.now_s + answer.seconds(code::LEASE_TIME).unwrap()));
                }
                Err(DropReason::Released | DropReason::Declined) => promises.retain(|&(holder, ..)| holder != client),
                _ => {}
            }
        }
    }
}

/// What one of five clients may say of one of five addresses, the last of which is in no pool.
fn any_step() -> impl Strategy<Value = Msg> {
    (0u8..8, 1u8..6, 10u8..15).prop_map(|(kind, n, host)| {
        let address = lan(host);
        match kind {
            0 => discover(n).address(code::REQUESTED_ADDRESS, address),
            1 | 2 => selecting(n, SERVER, address),
            3 => request(n).address(code::REQUESTED_ADDRESS, address),
            4 => request(n).unicast(address),
            5 => request(n).with(|msg| msg.ciaddr = address),
            6 => message(MessageType::Release, n).unicast(address),
            _ => message(MessageType::Decline, n).address(code::REQUESTED_ADDRESS, address),
        }
    })
}
