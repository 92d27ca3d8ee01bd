//! The whole table.

use std::{net::Ipv4Addr, sync::Arc};

use loom::thread;

use super::{BindError, BindingState, Client, ClientKey, HwAddress, LeaseTable, PoolRange};
use crate::model;

const NOW: u32 = 1_800_000_000;

fn address(n: u32) -> Ipv4Addr {
    Ipv4Addr::from(0x0a00_0000 + n)
}

fn table(addresses: u32) -> LeaseTable {
    LeaseTable::new(&[PoolRange { subnet: 0, first: address(1), last: address(addresses) }], [1, 2])
}

struct Who(HwAddress);

impl Who {
    fn new(n: u8) -> Self {
        Self(HwAddress { htype: 1, hlen: 6, chaddr: [n; 16] })
    }
    fn key(&self, table: &LeaseTable) -> ClientKey {
        table.key(0, &self.0, &[])
    }
    fn of(&self, table: &LeaseTable) -> Client<'_> {
        Client { key: self.key(table), subnet: 0, hw: &self.0, client_id: &[], limits: &[], agent_info: &[] }
    }
}

/// In a function of its own: a model's threads have small stacks, and a binding is large.
fn state(table: &LeaseTable, now_s: u32) -> BindingState {
    table.get(address(1), now_s).unwrap().state
}

#[test]
fn two_clients_that_want_one_address_do_not_both_get_it() {
    model(2, || {
        let table = Arc::new(table(1));
        let bind = |table: &LeaseTable, n| {
            let who = Who::new(n);
            table.bind(&who.of(table), address(1), NOW + 9, NOW)
        };
        let other = thread::spawn({
            let table = table.clone();
            move || bind(&table, 2)
        });
        let mine = bind(&table, 1);
        let other = other.join().unwrap();
        assert_eq!([&mine, &other].iter().filter(|bound| bound.is_ok()).count(), 1, "{mine:?} {other:?}");
        let (winner, loser) = if mine.is_ok() { (1, 2) } else { (2, 1) };
        let at = |n| table.find(&Who::new(n).key(&table), NOW).map(|lease| lease.address);
        assert_eq!((at(winner), at(loser)), (Some(address(1)), None));
    });
}

#[test]
fn a_client_that_asks_twice_at_once_has_one_address() {
    model(2, || {
        let table = Arc::new(table(2));
        let offer = |table: &LeaseTable| table.offer(&Who::new(1).of(table), None, NOW + 9, NOW);
        let other = thread::spawn({
            let table = table.clone();
            move || offer(&table)
        });
        let mine = offer(&table);
        let other = other.join().unwrap();
        if let (Ok(mine), Ok(other)) = (mine, other) {
            assert_eq!(mine.address, other.address);
        }
        assert!(mine.is_ok() || other.is_ok());
        assert_eq!(table.counts().offered, 1);
        // The other address is to be had.
        assert!(table.offer(&Who::new(2).of(&table), None, NOW + 9, NOW).is_ok());
    });
}

#[test]
fn a_lease_that_is_renewed_while_it_expires_is_the_clients_or_free() {
    model(2, || {
        let table = Arc::new(table(1));
        table.bind(&Who::new(1).of(&table), address(1), NOW + 9, NOW).unwrap();
        table.expire(NOW, 10);
        let keeper = thread::spawn({
            let table = table.clone();
            move || table.expire(NOW + 9, 10)
        });
        let renewed = table.bind(&Who::new(1).of(&table), address(1), NOW + 20, NOW + 9);
        keeper.join().unwrap();
        assert_eq!(state(&table, NOW + 10), if renewed.is_ok() { BindingState::Bound } else { BindingState::Expired });
        assert!(renewed.is_ok() || renewed == Err(BindError::Contended));
        // The wheel has not lost it.
        table.expire(NOW + 20, 10);
        assert_eq!(state(&table, NOW + 20), BindingState::Expired);
        assert_eq!(table.counts().bound, 0);
        assert!(table.offer(&Who::new(2).of(&table), None, NOW + 30, NOW + 20).is_ok());
    });
}

#[test]
fn an_address_that_is_released_while_another_asks_goes_to_it_or_stays_to_be_had() {
    model(2, || {
        let table = Arc::new(table(1));
        table.bind(&Who::new(1).of(&table), address(1), NOW + 9, NOW).unwrap();
        let goes = thread::spawn({
            let table = table.clone();
            move || assert!(table.release(&Who::new(1).key(&table), address(1), NOW).is_some())
        });
        let offered = table.offer(&Who::new(2).of(&table), None, NOW + 9, NOW);
        // A reader sees one of the three.
        let seen = table.get(address(1), NOW).map(|binding| (binding.state, binding.hw.chaddr[0]));
        assert!(matches!(seen, Some((BindingState::Bound | BindingState::Released, 1) | (BindingState::Offered, 2))));
        goes.join().unwrap();
        let late = table.offer(&Who::new(3).of(&table), None, NOW + 9, NOW);
        assert!(offered.is_ok() != late.is_ok(), "{offered:?} {late:?}");
    });
}

#[test]
fn a_reader_never_sees_what_the_relay_agent_said_of_another_client() {
    model(2, || {
        let table = Arc::new(table(1));
        // Longer than a record: one goes on where the other did.
        let bind = |table: &LeaseTable, n: u8| {
            let (who, agent_info) = (Who::new(n), [n; 40]);
            table.bind(&Client { agent_info: &agent_info, ..who.of(table) }, address(1), NOW + 9, NOW)
        };
        bind(&table, 1).unwrap();
        table.release(&Who::new(1).key(&table), address(1), NOW).unwrap();
        let other = thread::spawn({
            let table = table.clone();
            move || bind(&table, 2).unwrap()
        });
        let seen = table.get(address(1), NOW).expect("somebody has it, or had it");
        assert_eq!(seen.agent_info[..], [seen.hw.chaddr[0]; 40]);
        other.join().unwrap();
    });
}
