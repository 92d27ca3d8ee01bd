//! Side data and its pool.

use super::{
    super::side::{Full, MAX_CHUNKS, SideData},
    *,
};

fn hw(hlen: u8) -> HwAddress {
    HwAddress { htype: 1, hlen, chaddr: std::array::from_fn(|i| i as u8 + 1) }
}

fn read(side: &SideData) -> ([u8; 8], ClientId) {
    let (mut rest, mut id) = ([0xff; 8], ClientId::new());
    side.read(0, &mut id, &mut rest);
    (rest, id)
}

#[test]
fn a_record_of_any_length_takes_the_place_of_one_of_any_other() {
    let side = SideData::new(2);
    for before in (0..=255).step_by(15) {
        for (after, hlen) in [(0usize, 6u8), (22, 16), (23, 16), (26, 6), (30, 6), (31, 6), (50, 8), (51, 9), (255, 16)]
        {
            let id = |len: usize| -> Vec<u8> { (0..len).map(|i| (i ^ len) as u8).collect() };
            side.write(0, &hw(6), &id(before)).unwrap();
            side.write(0, &hw(hlen), &id(after)).unwrap();
            let (rest, read) = read(&side);
            assert_eq!(read[..], id(after)[..], "{before} then {after}");
            assert_eq!(rest[..usize::from(hlen.max(8)) - 8], hw(hlen).bytes()[8.min(hlen.into())..]);
        }
    }
}

#[test]
fn chunks_are_given_back_and_a_client_that_finds_none_changes_nothing() {
    let side = SideData::new(1);
    for _ in 0..100 {
        side.write(0, &hw(6), &[7; 255]).unwrap();
        side.write(0, &hw(6), &[7; 3]).unwrap();
    }
    let all: Vec<u32> = std::iter::from_fn(|| side.clients.pool.pop()).collect();
    assert_eq!(all.len(), MAX_CHUNKS);
    side.clients.pool.push(all[0]);
    assert_eq!(side.write(0, &hw(6), &[8; 255]), Err(Full));
    assert_eq!(read(&side).1[..], [7; 3]);
    side.write(0, &hw(6), &[8; 50]).unwrap();
    assert_eq!(read(&side).1[..], [8; 50]);
    side.write(0, &hw(6), &[9; 30]).unwrap();
    assert_eq!(side.clients.pool.pop(), Some(all[0]));
}
