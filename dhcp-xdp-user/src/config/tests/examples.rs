//! The examples of typical sites.

use super::*;

/// The example of a typical site, which has nothing doubtful in it.
fn example(text: &str) -> Config {
    let checked = parse("example", text, &AnyMachine).unwrap_or_else(|rejected| panic!("{rejected}"));
    assert_eq!(checked.warnings, []);
    checked.config
}

#[test]
fn the_example_of_ftth_is_clean_and_serves_circuits() {
    let config = example(include_str!("../../../../examples/ftth.toml"));
    assert_eq!((config.subnets.network(0), config.reservations.len()), (&[0, 1][..], 2));
    assert!(config.reservations.has_circuits(0));
}

#[test]
fn the_example_of_a_hotel_is_clean_and_has_short_leases() {
    let config = example(include_str!("../../../../examples/hotel.toml"));
    let place = |vlan| config.subnets.on_link("eth1", [Some(vlan), None]);
    assert_eq!((place(20), place(30), place(40)), (Some(0), Some(1), None));
    assert!(config.subnets[0].lease.max_s <= 1800);
}

#[test]
fn the_example_of_qinq_is_clean_and_tells_customers_apart() {
    let config = example(include_str!("../../../../examples/qinq.toml"));
    let place = |outer, inner| config.subnets.on_link("eth1", [Some(outer), Some(inner)]);
    assert_eq!(
        (place(100, 1), place(100, 4094), place(101, 7), place(101, 8), place(101, 9)),
        (Some(0), Some(0), Some(2), Some(3), Some(4))
    );
    assert_eq!((place(102, 1), config.subnets.network(0)), (None, &[0, 1][..]));
}

#[test]
fn the_example_of_vpns_is_clean_and_tells_equal_addresses_apart() {
    let config = example(include_str!("../../../../examples/vpn.toml"));
    let at = |vrf: &str| crate::lease::SpacedAddress {
        space: config.subnets.vrfs().named(vrf).unwrap(),
        address: [10, 0, 0, 5].into(),
    };
    let of = |vrf: &str| (config.subnets.index_of(at(vrf)), config.reservations.of_address(at(vrf)));
    assert_eq!((of("customer-red"), of("customer-blue")), ((Some(0), None), (Some(1), Some(0))));
    assert_eq!((of("vpn-id:00:00:5e:00:00:00:07").0, of("global").0), (Some(2), None));
}

#[test]
fn the_example_of_cable_is_clean_and_keeps_devices_apart() {
    let config = example(include_str!("../../../../examples/cable.toml"));
    assert_eq!((config.subnets.network(0), config.classes.settings.len()), (&[0, 1, 2][..], 3));
    assert_eq!(config.subnets[2].guarded_pools.len(), 1);
    let leasequery = config.leasequery.unwrap();
    assert!(leasequery.allows([10, 128, 0, 1].into()) && !leasequery.allows([10, 128, 0, 2].into()));
}
