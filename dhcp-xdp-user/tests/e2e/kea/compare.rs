//! A reply taken apart, and how two of them differ.

use std::{collections::BTreeMap, net::Ipv4Addr};

use anyhow::{Context, Result, ensure};

use super::world::Class;
use crate::net::{Reply, replies};

/// A server's reply in the terms that two servers can be compared in.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Answer {
    /// Message type.
    pub kind: u8,
    /// What `yiaddr` is to the client.
    pub yiaddr: Class,
    /// Everything else: what it is, and its bytes in hexadecimal.
    pub fields: BTreeMap<String, String>,
}

/// A reply's parts from its frame.
pub struct Seen {
    pub xid: u32,
    pub kind: u8,
    pub yiaddr: Ipv4Addr,
    fields: BTreeMap<String, String>,
}

impl Seen {
    /// `None`: the frame is not a reply.
    pub fn read(frame: &[u8], client_mac: [u8; 6], relay_mac: [u8; 6], is_lenient: bool) -> Result<Option<Self>> {
        if frame.get(12..14) != Some(&[8, 0]) || frame.get(34..36) != Some(&[0, 67]) || frame.get(42) != Some(&2) {
            return Ok(None);
        }
        // Ours must also pass a decoder that is not ours, checksums and all.
        if !is_lenient {
            let decoded: Vec<Reply> = replies(&[frame.to_vec()])?;
            ensure!(decoded.len() == 1, "not a whole reply");
        }
        let message = frame.get(42..).context("cut")?;
        ensure!(message.len() >= 240, "cut");
        let address = |at: usize| Ipv4Addr::new(message[at], message[at + 1], message[at + 2], message[at + 3]);
        let mut fields = BTreeMap::new();
        let mut put = |name: &str, value: String| fields.insert(name.to_owned(), value);
        let to = match &frame[..6] {
            to if to == client_mac => "the client".to_owned(),
            to if to == relay_mac => "the relay agent".to_owned(),
            to => hex(to),
        };
        put("sent to MAC", to);
        // A reply to yiaddr or ciaddr: another address on each server.
        let destination = Ipv4Addr::new(frame[30], frame[31], frame[32], frame[33]);
        let named = match destination {
            _ if destination == address(16) => "yiaddr".to_owned(),
            _ if destination == address(12) => "ciaddr".to_owned(),
            _ => destination.to_string(),
        };
        put("sent to", named);
        put("sent from", Ipv4Addr::new(frame[26], frame[27], frame[28], frame[29]).to_string());
        put("ports", hex(&frame[34..38]));
        put("htype and hlen", hex(&message[1..3]));
        put("hops", hex(&message[3..4]));
        put("secs", hex(&message[8..10]));
        put("flags", hex(&message[10..12]));
        put("ciaddr is zero", address(12).is_unspecified().to_string());
        put("siaddr", address(20).to_string());
        put("giaddr", address(24).to_string());
        put("chaddr", hex(&message[28..44]));
        put("sname", hex(&message[44..108]));
        put("file", hex(&message[108..236]));
        let mut kind = 0;
        for (code, data) in options(&message[240..])? {
            if code == 53 {
                kind = *data.first().context("an empty message type")?;
            } else {
                put(&format!("option {code}"), hex(&data));
            }
        }
        let xid = u32::from_be_bytes([message[4], message[5], message[6], message[7]]);
        Ok(Some(Self { xid, kind, yiaddr: address(16), fields }))
    }

    pub fn answer(self, yiaddr: Class) -> Answer {
        Answer { kind: self.kind, yiaddr, fields: self.fields }
    }
}

fn hex(bytes: &[u8]) -> String {
    bytes.iter().map(|byte| format!("{byte:02x}")).collect()
}

/// The options, those of one code joined (RFC 3396).
fn options(mut area: &[u8]) -> Result<BTreeMap<u8, Vec<u8>>> {
    let mut all: BTreeMap<u8, Vec<u8>> = BTreeMap::new();
    loop {
        match area {
            [0, rest @ ..] => area = rest,
            [255, ..] => return Ok(all),
            [code, len, rest @ ..] => {
                let data = rest.get(..usize::from(*len)).context("an option runs past the end")?;
                all.entry(*code).or_default().extend(data);
                area = &rest[data.len()..];
            }
            _ => anyhow::bail!("no end option"),
        }
    }
}

/// How our answer differs from theirs, and whether they think differently of the client from then on.
pub fn differences(ours: Option<&Answer>, theirs: Option<&Answer>) -> (Vec<String>, bool) {
    let name = |answer: Option<&Answer>| match answer.map(|answer| answer.kind) {
        None => "silence".to_owned(),
        Some(2) => "OFFER".to_owned(),
        Some(5) => "ACK".to_owned(),
        Some(6) => "NAK".to_owned(),
        Some(other) => format!("type {other}"),
    };
    let (Some(ours), Some(theirs)) = (ours, theirs) else {
        let differs = ours.is_some() != theirs.is_some();
        let told = differs.then(|| format!("{} for {}", name(ours), name(theirs)));
        return (told.into_iter().collect(), differs);
    };
    if ours.kind != theirs.kind {
        return (vec![format!("{} for {}", name(Some(ours)), name(Some(theirs)))], true);
    }
    let mut told = Vec::new();
    let kind = name(Some(ours));
    let other_address = ours.yiaddr != theirs.yiaddr;
    if other_address {
        told.push(format!("{kind}: address {:?} for {:?}", ours.yiaddr, theirs.yiaddr));
    }
    let names: std::collections::BTreeSet<&String> = ours.fields.keys().chain(theirs.fields.keys()).collect();
    for field in names {
        match (ours.fields.get(field), theirs.fields.get(field)) {
            (Some(ours), Some(theirs)) if ours == theirs => {}
            (Some(_), Some(_)) => told.push(format!("{kind}: {field} differs")),
            (Some(_), None) => told.push(format!("{kind}: {field} is there")),
            _ => told.push(format!("{kind}: {field} is not there")),
        }
    }
    (told, other_address)
}
