//! Subnets by the VLAN tags of a frame.

use super::*;
use crate::engine::testing::Msg;

fn vlan_subnet(net: u8, vlan: &str) -> String {
    format!(
        "[[subnet]]\nprefix = \"10.0.{net}.0/24\"\nserver_id = \"192.0.2.1\"\ninterface = \"lan0\"\npools = [\"10.0.{net}.10-10.0.{net}.20\"]\n{vlan}\n"
    )
}

fn tagged(n: u8, vlans: &[u16]) -> Msg {
    // Priority bits are no part of the identifier.
    discover(n).with(|msg| msg.tags = vlans.iter().map(|id| (0x8100, 0xe000 | id)).collect())
}

fn net_of(bed: &mut Bed, vlans: &[u16]) -> u8 {
    let offer = bed.reply(&tagged(1, vlans));
    assert_eq!(offer.frame.len() - 42 - offer.payload.len(), vlans.len() * 4, "a reply has the tags of its request");
    offer.yiaddr().octets()[2]
}

#[test]
fn a_subnet_that_names_both_tags_comes_before_one_that_names_the_outer_before_one_that_names_none() {
    let mut bed = bed_of(
        &[
            vlan_subnet(1, ""),
            vlan_subnet(2, "vlan = 100"),
            vlan_subnet(3, "vlan = \"100.200\""),
            vlan_subnet(4, "vlan = \"300-399\""),
            vlan_subnet(5, "vlan = 101\ninner = \"1-99\""),
            vlan_subnet(6, "vlan = \"101.100-4094\""),
        ]
        .concat(),
    );
    for (vlans, net) in [
        (&[][..], 1),
        (&[99], 1),
        (&[100], 2),
        (&[100, 199], 2),
        (&[100, 200], 3),
        (&[300], 4),
        (&[399, 7], 4),
        (&[400], 1),
        (&[101], 1),
        (&[101, 1], 5),
        (&[101, 99], 5),
        (&[101, 100], 6),
        (&[101, 4094], 6),
    ] {
        assert_eq!(net_of(&mut bed, vlans), net, "{vlans:?}");
    }
}

#[test]
fn a_vlan_of_no_subnet_gets_silence_where_each_subnet_names_its_own() {
    let mut bed = bed_of(&vlan_subnet(1, "vlan = 100"));
    assert_eq!(bed.dropped(&tagged(1, &[101])), DropReason::NoSubnet);
    assert_eq!(bed.dropped(&discover(1)), DropReason::NoSubnet);
}

#[test]
fn thousands_of_customers_have_a_vlan_each() {
    let mut text = String::new();
    for customer in 0..4000u32 {
        let network = Ipv4Addr::from(0x0a00_0000 + customer * 8);
        let host = Ipv4Addr::from(u32::from(network) + 2);
        let (outer, inner) = (100 + customer / 1000, 1 + customer % 1000);
        text += &format!(
            "[[subnet]]\nprefix = \"{network}/29\"\nserver_id = \"192.0.2.1\"\ninterface = \"lan0\"\nvlan = \"{outer}.{inner}\"\npools = [\"{host}\"]\n"
        );
    }
    let mut bed = bed_of(&text);
    for customer in [0u32, 1, 999, 1000, 3999] {
        let vlans = [100 + customer as u16 / 1000, 1 + customer as u16 % 1000];
        assert_eq!(u32::from(bed.reply(&tagged(1, &vlans)).yiaddr()), 0x0a00_0002 + customer * 8);
    }
}

#[test]
fn a_relay_agents_subnet_is_chosen_by_its_address_whatever_the_tags() {
    let far = "[[subnet]]\nprefix = \"10.0.0.0/24\"\nserver_id = \"192.0.2.1\"\npools = [\"10.0.0.10\"]\n";
    let mut bed = bed_of(&format!("{}{far}", vlan_subnet(1, "vlan = 100")));
    assert_eq!(bed.reply(&tagged(1, &[100]).relayed()).yiaddr(), super::far(10));
}

#[test]
fn a_network_of_subnets_shares_its_vlan() {
    let network = "[[network]]\nname = \"n\"\ninterface = \"lan0\"\nvlan = 100\n";
    let member = |net: u8| {
        format!(
            "[[subnet]]\nprefix = \"10.0.{net}.0/24\"\nserver_id = \"192.0.2.1\"\nnetwork = \"n\"\npools = [\"10.0.{net}.10\"]\n"
        )
    };
    let mut bed = bed_of(&format!("{network}{}{}", member(1), member(2)));
    assert_eq!(net_of(&mut bed, &[100]), 1);
    let second = bed.reply(&tagged(2, &[100]));
    assert_eq!(second.yiaddr().octets()[2], 2);
}
