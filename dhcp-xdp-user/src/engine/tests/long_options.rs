//! RFC 3396: options that come in parts, and those that go in parts.

use super::*;
use crate::{engine::testing::Msg, worker::batch::BATCH};

/// A message with these parts of options in `options`, `file` and `sname`.
fn in_parts(mut msg: Msg, main: &[(u8, &[u8])], file: &[u8], sname: &[u8]) -> Msg {
    msg.options.push((code::OVERLOAD, vec![3]));
    msg.options.extend(main.iter().map(|(code, data)| (*code, data.to_vec())));
    msg.file[..file.len()].copy_from_slice(file);
    msg.sname[..sname.len()].copy_from_slice(sname);
    msg
}

#[test]
fn parts_are_concatenated_in_the_order_options_file_sname() {
    let whole = b"\x00one identifier in three parts";
    let msg = in_parts(
        discover(1),
        &[(code::CLIENT_ID, &whole[..10])],
        &[&[61, 10], &whole[10..20], &[255]].concat(),
        &[&[61, 10], &whole[20..], &[255]].concat(),
    );
    let mut bed = Bed::new();
    let offer = bed.reply(&msg);
    assert_eq!(offer.option(code::CLIENT_ID), Some(&whole[..]));
    assert_eq!(
        bed.reply(&discover(2).option(code::CLIENT_ID, whole)).yiaddr(),
        offer.yiaddr(),
        "it is the same client"
    );
}

#[test]
fn an_option_of_fixed_length_may_come_in_parts_too() {
    let mut msg = discover(1);
    msg.options = vec![(50, vec![192, 0]), (53, vec![1]), (50, vec![2, 17])];
    assert_eq!(Bed::new().reply(&msg).yiaddr(), lan(17));
}

#[test]
fn option_82_of_more_than_255_bytes_is_echoed_whole_and_last() {
    let info: Vec<u8> = (0..4u8).flat_map(|n| [&[n + 1, 78][..], &[n; 78]].concat()).collect();
    let msg = discover(1).relayed().option(82, &info[..200]).option(82, &info[200..]);
    let msg = msg.option(code::MAX_MESSAGE_SIZE, &1400u16.to_be_bytes());
    let offer = Bed::new().reply(&msg);
    let last: Vec<_> = offer.options.iter().rev().take(2).rev().collect();
    assert_eq!((last[0].0, last[0].1.len(), last[1].0), (82, 255, 82));
    assert_eq!([&last[0].1[..], &last[1].1].concat(), info);
}

#[test]
fn an_identifier_that_no_lease_can_keep_is_refused() {
    let long = |len: usize| discover(1).option(61, &vec![7; len - 200]).option(61, &[7; 200]);
    assert_eq!(Bed::new().reply(&long(255)).option(61).map(<[u8]>::len), Some(255));
    assert_eq!(Bed::new().dropped(&long(256)), DropReason::BadOption);
}

#[test]
fn a_configured_option_of_more_than_255_bytes_goes_in_parts() {
    let data: Vec<u8> = (0..700).map(|i| (i % 250) as u8).collect();
    let mut bed = Bed::with(|config| {
        config.subnets[0].options =
            OptionSet::new([OptionBlob { code: 224, data: data.clone(), always: false, ..OptionBlob::default() }]);
    });
    let msg = discover(1).option(code::PARAMETER_REQUEST_LIST, &[224]);
    let offer = bed.reply(&msg.clone().option(code::MAX_MESSAGE_SIZE, &1400u16.to_be_bytes()));
    let parts: Vec<_> = offer.options.iter().filter(|(code, _)| *code == 224).map(|(_, data)| &data[..]).collect();
    assert_eq!(parts.iter().map(|part| part.len()).collect::<Vec<_>>(), [255, 255, 190]);
    assert_eq!(parts.concat(), data);
    // dhcproto joins them by itself.
    let theirs = offer.message.opts().get(dhcproto::v4::OptionCode::Unknown(224)).unwrap();
    assert!(matches!(theirs, dhcproto::v4::DhcpOption::Unknown(theirs) if theirs.data().len() == 700));
    assert!(!bed.reply(&msg).codes().contains(&224), "not half of it to a client that takes 576 bytes");
}

#[test]
fn a_whole_batch_of_messages_in_parts_is_answered() {
    let mut bed = Bed::with(|config| {
        config.subnets[0].pools[0].last = lan(100);
    });
    let frames: Vec<Vec<u8>> =
        (0..BATCH as u8).map(|n| discover(n + 1).option(61, &[n; 120]).option(61, &[n; 120]).frame()).collect();
    let answers = bed.frames(&frames);
    for (n, answer) in (0u8..).zip(&answers) {
        assert_eq!(answer.as_ref().unwrap().option(61), Some(&[n; 240][..]));
    }
}

#[test]
fn a_message_of_nothing_but_parts_costs_a_bounded_time_and_is_answered_or_refused() {
    // 900 instances of one code, none of which says anything.
    let mut msg = discover(1);
    msg.tail = [55, 0].repeat(600);
    assert!(Bed::new().send(&msg).is_ok());
    msg.tail = [61, 1, 9].repeat(400);
    assert_eq!(Bed::new().dropped(&msg), DropReason::BadOption);
}
