//! Whatever comes, with every rule of the configuration in use: no panic, a reply that other parsers read, a closed ledger.

use proptest::{collection::vec, prelude::*};

use super::*;
use crate::{
    config::{Config, Identity, LoadBalance, OptionSet},
    engine::testing::Msg,
    lease::Space,
    wire::options::Codes,
};

/// Every rule in use.
fn with_everything(config: &mut Config) {
    config.client_subnet_selection = true;
    config.load_balance = Some(LoadBalance { buckets: Codes::of(&(0..=200).collect::<Vec<u8>>()), after_secs: 3 });
    for subnet in config.subnets.iter_mut() {
        subnet.rapid_commit = true;
        subnet.bootp_lease_s = Some(900);
        subnet.ipv6_only = true;
        subnet.auto_configure = Some(true);
        subnet.min_secs = 1;
        subnet.lease.jitter_permille = 500;
        subnet.lease.scarce_permille = 300;
        subnet.boot_files = vec![(7, b"efi".to_vec())];
        let long = |code, len| OptionBlob { code, data: vec![code; len], always: code == 108, ..OptionBlob::default() };
        subnet.options = OptionSet::new([long(1, 4), long(3, 4), long(121, 5), long(108, 4), long(224, 400)]);
    }
    config.subnets[0].identity = Identity::HwAddress;
    config.subnets[1].space = Space(1);
    config.vrfs_for_tests(&["red"]);
}

/// An option that some rule reads, right or not.
fn option() -> impl Strategy<Value = (u8, Vec<u8>)> {
    let code = prop::sample::select(vec![12u8, 50, 51, 52, 53, 54, 55, 57, 61, 77, 80, 82, 93, 97, 108, 116, 118, 221]);
    let info = prop::sample::select(vec![
        &b"\x05\x04\xc0\x00\x02\x00"[..],
        b"\x97\x04\x00red",
        b"\x98\x00\x97\x04\x00red\x13\x00",
        b"\x0b\x04\x0a\x00\x00\xfe\x0a\x01\x80",
        b"\x01\x02ab\x02",
    ]);
    prop_oneof![
        (code, vec(any::<u8>(), 0..9)),
        (Just(82), info.prop_map(<[u8]>::to_vec)),
        Just((55, vec![1, 3, 121, 108, 224])),
        Just((80, vec![])),
        Just((50, vec![192, 0, 2, 12])),
        Just((54, SERVER.octets().to_vec())),
        Just((118, vec![192, 0, 2, 0])),
        Just((57, vec![5, 120])),
        (Just(61), vec(any::<u8>(), 100..200)),
    ]
}

fn any_message() -> impl Strategy<Value = Msg> {
    let fields = (1u8..6, any::<[bool; 4]>(), 0u8..20, 0u16..9, 0u8..3, prop::sample::select(vec![1u8, 3, 4, 7, 8]));
    (fields, vec(option(), 0..10), vec(any::<u8>(), 0..60)).prop_map(|(fields, options, area)| {
        let (n, [is_relayed, is_bootp, has_ciaddr, has_cookie], hops, secs, overload, message_type) = fields;
        let mut msg = message(message_type.into(), n);
        if is_relayed {
            msg = msg.relayed();
        }
        if is_bootp {
            msg.options.clear();
        }
        if has_ciaddr {
            msg.ciaddr = if is_relayed { far(12) } else { lan(12) };
        }
        if !has_cookie && is_bootp {
            msg.cookie = [0; 4];
        }
        if overload > 0 {
            msg.options.push((code::OVERLOAD, vec![overload]));
        }
        (msg.hops, msg.secs) = (hops, secs);
        msg.file[..area.len()].copy_from_slice(&area);
        msg.options.extend(options);
        msg
    })
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(300))]

    #[test]
    fn no_message_panics_and_every_reply_is_read_by_others(msgs in vec(any_message(), 1..20)) {
        let mut bed = Bed::with(with_everything);
        let frames: Vec<_> = msgs.iter().map(Msg::frame).collect();
        bed.frames(&frames);
        for msg in &msgs {
            let _ = bed.send(msg);
        }
    }
}

#[test]
fn most_of_these_messages_say_something() {
    use proptest::strategy::ValueTree as _;
    let mut runner = proptest::test_runner::TestRunner::deterministic();
    let mut bed = Bed::with(with_everything);
    let mut answered = 0;
    for _ in 0..400 {
        let msg = any_message().new_tree(&mut runner).unwrap().current();
        answered += usize::from(bed.send(&msg).is_ok());
    }
    assert!(answered > 60, "{answered} of 400 were answered");
}
