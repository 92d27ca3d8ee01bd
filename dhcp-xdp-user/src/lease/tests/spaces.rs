//! Address spaces: the same addresses for other clients.

use super::*;

const RED: Space = Space(5);
const BLUE: Space = Space(u16::MAX);

/// 10 to 13 in three spaces, with 20 reserved beside each pool, and 12 in it in red.
fn table_of_three() -> LeaseTable {
    let pools: Vec<PoolRange> = (0..3).map(|subnet| range(subnet, 10, 13)).collect();
    let one = |subnet, last| ReservedAddress { subnet, address: ip(last) };
    let reserved = [one(0, 20), one(2, 20), one(1, 20), one(1, 21), one(1, 12)];
    let plan = Plan { pools: &pools, reserved: &reserved, spaces: &[Space::GLOBAL, RED, BLUE], ..Plan::default() };
    LeaseTable::planned(&plan, SECRET)
}

#[test]
fn each_space_has_the_same_addresses_for_clients_of_its_own() {
    let table = table_of_three();
    assert_eq!(table.counts().total, 3 * 5 + 1);
    for subnet in [2, 0, 1] {
        let who = Who::new(u32::from(subnet));
        let client = who.in_subnet(&table, subnet);
        let lease = table.offer(&client, Some(ip(11)), NOW + HOLD, NOW).unwrap();
        assert_eq!(table.bind(&client, lease.address, NOW + TERM, NOW).unwrap().lease.at(), lease.at());
    }
    let all: Vec<Binding> = table.iter(NOW).collect();
    let at = |space| SpacedAddress::new(space, ip(11));
    assert_eq!(all.iter().map(Binding::at).collect::<Vec<_>>(), [Space::GLOBAL, RED, BLUE].map(at));
    assert_eq!(all.iter().map(|binding| binding.hw.chaddr[5]).collect::<Vec<_>>(), [0, 1, 2]);
    assert_eq!(table.get(at(RED), NOW).as_ref(), Some(&all[1]));
    assert_eq!(table.get(at(Space(6)), NOW), None, "a space that is none");

    let (first, second) = (Who::new(0), Who::new(1));
    let key = second.in_subnet(&table, 1).key;
    assert_eq!(table.release(&key, ip(11), NOW), None, "outside of its space it has nothing");
    assert_eq!(table.decline(&key, at(BLUE), NOW + 9, NOW), None);
    assert_eq!(table.is_free_for(&key, at(RED), NOW), Ok(true));
    assert_eq!(table.is_free_for(&key, at(BLUE), NOW), Ok(false));
    assert_eq!(table.release(&key, at(RED), NOW).unwrap().lease.at(), at(RED));
    assert_eq!(table.release_address(at(BLUE), NOW).unwrap().lease.space, BLUE);
    assert_eq!(table.find(&first.of(&table).key, NOW).unwrap().at(), at(Space::GLOBAL));
}

#[test]
fn what_is_reserved_in_a_space_is_free_in_the_others() {
    let table = table_of_three();
    let whos: Vec<Who> = (0..4).map(Who::new).collect();
    let given = |subnet| {
        let given = whos.iter().filter_map(|who| {
            let client = who.in_subnet(&table, subnet);
            table.offer(&client, Some(ip(12)), NOW + HOLD, NOW).ok().map(|lease| lease.at())
        });
        given.collect::<HashSet<_>>()
    };
    let red = SpacedAddress::new(RED, ip(12));
    assert_eq!([given(0).len(), given(1).len(), given(2).len()], [4, 3, 4]);
    assert!(!given(1).contains(&red) && given(2).contains(&SpacedAddress::new(BLUE, ip(12))));
    let who = Who::new(9);
    let bound = table.bind_reserved(&who.in_subnet(&table, 1), ip(12), NOW + TERM, 0, NOW).unwrap();
    assert_eq!(bound.lease.at(), red);
    let beside = table.bind_reserved(&who.in_subnet(&table, 2), ip(20), NOW + TERM, 0, NOW).unwrap();
    assert_eq!(beside.lease.at(), SpacedAddress::new(BLUE, ip(20)));
    assert_eq!(table.bind_reserved(&who.in_subnet(&table, 2), ip(21), NOW + TERM, 0, NOW), Err(BindError::NotInPool));
}

#[test]
fn a_record_goes_back_to_the_space_that_it_is_of() {
    let table = table_of_three();
    let who = Who::new(1);
    let lease = |space| Lease {
        space,
        address: ip(10),
        state: BindingState::Bound,
        generation: 3,
        started_s: NOW,
        expires_s: NOW + TERM,
    };
    for (subnet, space) in (0..).zip([Space::GLOBAL, RED, BLUE]) {
        table.restore(&lease(space).of(&who.hw, &who.id), subnet, NOW).unwrap();
    }
    assert_eq!(table.counts().bound, 3);
    for (subnet, space) in (0..).zip([Space::GLOBAL, RED, BLUE]) {
        assert_eq!(table.find(&who.in_subnet(&table, subnet).key, NOW).unwrap().space, space);
    }
    assert_eq!(table.limit_keys(&lease(RED)), LimitKeys::new());
}

proptest! {
    /// Pools anywhere in any space, some of which overlap, which a table leaves out.
    #[test]
    fn every_slot_has_an_address_of_its_own(
        pools in prop::collection::vec((0..4u16, 0..60u32, 0..12u32), 1..8),
        reserved in prop::collection::vec((0..4u16, 0..80u32), 0..20),
        spaces in prop::array::uniform4(prop::sample::select(vec![0u16, 1, 0xffff])),
    ) {
        let pools: Vec<PoolRange> = pools.into_iter().map(|(subnet, first, len)| range(subnet, first, first + len)).collect();
        let reserved: Vec<ReservedAddress> =
            reserved.into_iter().map(|(subnet, last)| ReservedAddress { subnet, address: ip(last) }).collect();
        let spaces = spaces.map(Space);
        let plan = Plan { pools: &pools, reserved: &reserved, spaces: &spaces, ..Plan::default() };
        let layout = layout::Layout::new(&plan, u32::MAX);
        let mut before = None;
        for slot in 0..layout.slots() {
            let (at, subnet) = layout.address_of(slot);
            prop_assert_eq!((layout.slot_of(at), spaces[usize::from(subnet)]), (Some((slot, subnet)), at.space));
            prop_assert!(before < Some(at), "in their order");
            before = Some(at);
        }
        let in_pools: u32 = layout.ranges().iter().filter(|range| range.is_pool).map(|range| range.len).sum();
        // One that overlaps another is left out.
        let all: u32 = pools.iter().map(|pool| u32::from(pool.last) - u32::from(pool.first) + 1).sum();
        let is_whole = in_pools == all;
        let at = |one: &ReservedAddress| SpacedAddress::new(spaces[usize::from(one.subnet)], one.address);
        for at in reserved.iter().filter(|_| is_whole).map(at) {
            prop_assert!(layout.slot_of(at).is_some(), "{} is reserved", at);
        }
    }
}
