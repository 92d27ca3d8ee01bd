//! The table against a plain map that does the same.

use super::*;

// Against a model.

const CLIENTS: u32 = 7;
const ADDRESSES: u32 = 5;

#[derive(Clone, Debug)]
enum Op {
    Offer {
        client: u32,
        wanted: Option<u32>,
    },
    /// `line` is what the relay agent says; 0 is none.
    Bind {
        client: u32,
        address: u32,
        term_s: u32,
        line: usize,
    },
    Renew {
        client: u32,
    },
    Withdraw(u32),
    Release {
        client: u32,
        address: u32,
    },
    ReleaseOwn(u32),
    Decline {
        client: u32,
        address: u32,
    },
    DeclineOwn(u32),
    ReleaseAddress(u32),
    Pass(u32),
    Restart,
}

fn op() -> impl Strategy<Value = Op> {
    let client = || 0..CLIENTS;
    let address = || 1..=ADDRESSES + 1;
    prop_oneof![
        6 => (client(), proptest::option::of(address())).prop_map(|(client, wanted)| Op::Offer { client, wanted }),
        6 => (client(), address(), 1..100u32, 0..4usize)
            .prop_map(|(client, address, term_s, line)| Op::Bind { client, address, term_s, line }),
        6 => client().prop_map(|client| Op::Renew { client }),
        2 => client().prop_map(Op::Withdraw),
        1 => (client(), address()).prop_map(|(client, address)| Op::Release { client, address }),
        3 => client().prop_map(Op::ReleaseOwn),
        1 => (client(), address()).prop_map(|(client, address)| Op::Decline { client, address }),
        1 => client().prop_map(Op::DeclineOwn),
        1 => address().prop_map(Op::ReleaseAddress),
        4 => (0..60u32).prop_map(Op::Pass),
        1 => Just(Op::Restart),
    ]
}

/// What a plain program would keep: a map of addresses, and where each client is.
#[derive(Default)]
struct Model {
    now_s: u32,
    slots: BTreeMap<Ipv4Addr, (BindingState, u32, u32)>,
    at: HashMap<u32, Ipv4Addr>,
    /// What the relay agent said, an address.
    lines: BTreeMap<Ipv4Addr, Vec<u8>>,
}

impl Model {
    fn state(&self, address: Ipv4Addr) -> (BindingState, u32) {
        use BindingState::{Bound, Declined, Expired, Free, Offered};
        match self.slots.get(&address) {
            None => (Free, u32::MAX),
            Some(&(Offered | Bound | Declined, client, expires_s)) if expires_s <= self.now_s => (Expired, client),
            Some(&(state, client, _)) => (state, client),
        }
    }

    fn takeable(&self, address: Ipv4Addr) -> bool {
        use BindingState::{Expired, Free, Released};
        (1..=ADDRESSES).any(|a| ip(a) == address) && matches!(self.state(address).0, Free | Released | Expired)
    }

    fn put(&mut self, address: Ipv4Addr, state: BindingState, client: u32, expires_s: u32) {
        let former = self.state(address).1;
        if former != client {
            self.lines.remove(&address);
        }
        if former != client && self.at.get(&former) == Some(&address) {
            self.at.remove(&former);
        }
        self.slots.insert(address, (state, client, expires_s));
        self.at.insert(client, address);
    }
}

struct Run {
    model: Model,
    table: LeaseTable,
    kept: HashMap<Ipv4Addr, Binding>,
}

impl Run {
    fn offer(&mut self, client: u32, wanted: Option<u32>) {
        let now = self.model.now_s;
        let who = Who::new(client);
        let got = self.table.offer(&who.of(&self.table), wanted.map(ip), now + HOLD, now);
        let own = self.model.at.get(&client).copied();
        let any = (1..=ADDRESSES).map(ip).any(|address| self.model.takeable(address));
        let Ok(lease) = got else {
            assert_eq!(got, Err(OfferError::Exhausted));
            assert!(own.is_none() && !any, "there was an address");
            return;
        };
        if let Some(own) = own {
            assert_eq!(lease.address, own, "its own first");
        } else {
            assert!(self.model.takeable(lease.address), "{} was taken", lease.address);
            if let Some(wanted) = wanted.map(ip).filter(|wanted| self.model.takeable(*wanted)) {
                assert_eq!(lease.address, wanted);
            }
        }
        if self.model.state(lease.address) == (BindingState::Bound, client) {
            assert_eq!(lease.state, BindingState::Bound);
        } else {
            assert_eq!((lease.state, lease.expires_s), (BindingState::Offered, now + HOLD));
            self.model.put(lease.address, BindingState::Offered, client, now + HOLD);
        }
    }

    fn bind(&mut self, client: u32, address: Ipv4Addr, term_s: u32, line: usize) {
        let now = self.model.now_s;
        let who = Who::new(client);
        let said = vec![line as u8; [0, 3, 40, 200][line]];
        let from = Client { agent_info: &said, ..who.of(&self.table) };
        let got = self.table.bind(&from, address, now + term_s, now);
        use BindingState::{Bound, Declined, Offered, Released};
        let (state, owner) = self.model.state(address);
        if address > ip(ADDRESSES) {
            assert_eq!(got, Err(BindError::NotInPool));
        } else if state == Declined || matches!(state, Bound | Offered) && owner != client {
            assert_eq!(got, Err(BindError::Taken));
        } else {
            let bound = got.unwrap();
            let old = self.model.at.get(&client).copied().filter(|old| *old != address);
            let released = old.filter(|old| self.model.state(*old).0 == Bound);
            assert_eq!(bound.released.map(|lease| lease.address), released);
            if let Some(old) = old
                && matches!(self.model.state(old).0, Bound | Offered)
            {
                self.model.slots.insert(old, (Released, client, now));
            }
            // The model's own word for "never shorter than what the client was told".
            let had_until_s = if (state, owner) == (Bound, client) { self.model.slots[&address].2 } else { 0 };
            assert_eq!(bound.lease.expires_s, had_until_s.max(now + term_s));
            self.model.put(address, Bound, client, bound.lease.expires_s);
            let carried = old.and_then(|old| self.model.lines.get(&old).cloned());
            if let Some(line) = Some(said).filter(|said| !said.is_empty()).or(carried) {
                self.model.lines.insert(address, line);
            }
            self.keep(bound.lease, client);
            if let Some(released) = bound.released {
                self.keep(released, client);
            }
        }
    }

    fn keep(&mut self, lease: Lease, client: u32) {
        let who = Who::new(client);
        let agent_info = self.table.agent_info(&lease).unwrap();
        let newer = self.kept.insert(lease.address, Binding { agent_info, ..lease.of(&who.hw, &who.id) });
        assert!(newer.is_none_or(|old| old.generation < lease.generation), "generations grow");
    }

    fn release(&mut self, client: u32, address: Ipv4Addr) {
        let now = self.model.now_s;
        let got = self.table.release(&Who::new(client).of(&self.table).key, address, now);
        let theirs = self.model.state(address) == (BindingState::Bound, client);
        assert_eq!(got.is_some(), theirs);
        if let Some(Ended { lease, .. }) = got {
            self.model.slots.insert(address, (BindingState::Released, client, now));
            self.keep(lease, client);
        }
    }

    fn decline(&mut self, client: u32, address: Ipv4Addr) {
        let now = self.model.now_s;
        let got = self.table.decline(&Who::new(client).of(&self.table).key, address, now + 30, now);
        let (state, owner) = self.model.state(address);
        let theirs = owner == client && matches!(state, BindingState::Bound | BindingState::Offered);
        assert_eq!(got.is_some(), theirs);
        if let Some(Ended { lease, .. }) = got {
            self.model.slots.insert(address, (BindingState::Declined, client, now + 30));
            if self.model.at.get(&client) == Some(&address) {
                self.model.at.remove(&client);
            }
            self.keep(lease, client);
        }
    }

    /// The journal's records alone bring back everything but offers and what offers made the table forget.
    fn restart(&mut self) {
        self.table = LeaseTable::new(&[range(0, 1, 2), range(0, 3, ADDRESSES)], [9, 9]);
        for binding in self.kept.values() {
            self.table.restore(binding, 0, self.model.now_s).unwrap();
        }
        let table = self.table.iter(self.model.now_s).filter(|binding| binding.state == BindingState::Bound);
        let model = (1..=ADDRESSES).map(ip).filter(|address| self.model.state(*address).0 == BindingState::Bound);
        assert_eq!(table.map(|binding| binding.address).collect::<Vec<_>>(), model.collect::<Vec<_>>());
        self.model.slots.clear();
        self.model.at.clear();
        let told = std::mem::take(&mut self.model.lines);
        for binding in self.table.iter(self.model.now_s) {
            let client = (0..CLIENTS).find(|client| Who::new(*client).hw == binding.hw).unwrap();
            self.model.slots.insert(binding.address, (binding.state, client, binding.expires_s));
            let line = binding.agent_info.to_vec();
            if binding.state == BindingState::Bound {
                assert_eq!(Some(&line).filter(|line| !line.is_empty()), told.get(&binding.address));
            }
            if !line.is_empty() {
                self.model.lines.insert(binding.address, line);
            }
            let who = Who::new(client);
            if let Some(lease) = self.table.find(&who.of(&self.table).key, self.model.now_s) {
                self.model.at.insert(client, lease.address);
            }
        }
    }

    fn apply(&mut self, op: &Op) {
        match *op {
            Op::Offer { client, wanted } => self.offer(client, wanted),
            Op::Bind { client, address, term_s, line } => self.bind(client, ip(address), term_s, line),
            Op::Renew { client } => {
                if let Some(&address) = self.model.at.get(&client) {
                    self.bind(client, address, 50, 0);
                }
            }
            Op::Withdraw(client) => {
                let own = self.model.at.get(&client).copied();
                let held = own.filter(|own| self.model.state(*own).0 == BindingState::Offered);
                let got = self.table.withdraw(&Who::new(client).of(&self.table).key, self.model.now_s);
                assert_eq!(got, held.is_some());
                if let Some(held) = held {
                    self.model.slots.insert(held, (BindingState::Released, client, self.model.now_s));
                }
            }
            Op::Release { client, address } => self.release(client, ip(address)),
            Op::ReleaseOwn(client) => {
                if let Some(&address) = self.model.at.get(&client) {
                    self.release(client, address);
                }
            }
            Op::Decline { client, address } => self.decline(client, ip(address)),
            Op::DeclineOwn(client) => {
                if let Some(&address) = self.model.at.get(&client) {
                    self.decline(client, address);
                }
            }
            Op::ReleaseAddress(address) => {
                let (state, owner) = self.model.state(ip(address));
                let got = self.table.release_address(ip(address), self.model.now_s);
                let in_use = matches!(state, BindingState::Offered | BindingState::Bound | BindingState::Declined);
                assert_eq!(got.is_some(), in_use);
                if let Some(Ended { lease, .. }) = got {
                    self.model.slots.insert(ip(address), (BindingState::Released, owner, self.model.now_s));
                    self.keep(lease, owner);
                }
            }
            Op::Pass(seconds) => self.model.now_s += seconds,
            Op::Restart => self.restart(),
        }
        self.table.expire(self.model.now_s, usize::MAX);
        self.compare();
    }

    fn compare(&self) {
        let now = self.model.now_s;
        for address in (1..=ADDRESSES).map(ip) {
            let got = self.table.get(address, now);
            let want = self.model.state(address);
            assert_eq!(got.as_ref().map_or(BindingState::Free, |binding| binding.state), want.0, "{address}");
            if let Some(got) = got {
                let who = Who::new(want.1);
                assert_eq!((got.hw, &got.client_id[..]), (who.hw, &who.id[..]), "{address}");
                let line = self.model.lines.get(&address).map_or(&[][..], |line| line);
                assert_eq!(&got.agent_info[..], line, "{address}");
            }
        }
        for client in 0..CLIENTS {
            let found = self.table.find(&Who::new(client).of(&self.table).key, now).map(|lease| lease.address);
            assert_eq!(found, self.model.at.get(&client).copied(), "client {client}");
        }
        let counts = self.table.counts();
        let model = (1..=ADDRESSES).filter(|a| self.model.state(ip(*a)).0 == BindingState::Bound).count();
        assert_eq!(counts.bound, model as u64);
    }
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 512, ..ProptestConfig::default() })]
    #[test]
    fn any_sequence_of_operations_agrees_with_a_plain_model(ops in proptest::collection::vec(op(), 1..120)) {
        let mut run = Run {
            model: Model { now_s: NOW, ..Model::default() },
            table: LeaseTable::new(&[range(0, 1, 2), range(0, 3, ADDRESSES)], SECRET),
            kept: HashMap::new(),
        };
        for op in &ops {
            run.apply(op);
        }
    }
}
