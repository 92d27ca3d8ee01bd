//! Reading a message: header, options in all three fields, the request. Input: a UDP payload.

use std::net::Ipv4Addr;

use dhcp_xdp::{
    engine::{DropReason, Request},
    wire::{
        dhcp::{Header, HeaderError, MessageType},
        options::{Options, Scratch},
    },
};

use crate::{Seed, message};

/// Any payload: options end, lie within the message and are what a plain second reader finds.
pub fn run(data: &[u8]) {
    let mut memory = vec![0; data.len()];
    let request = Request::parse(data, Ipv4Addr::BROADCAST, &mut Scratch::new(&mut memory));
    let header = match Header::new_checked(data) {
        Ok(header) => header,
        // A message without a cookie is a BOOTP client's, and has no options.
        Err(HeaderError::BadCookie) => {
            let is_plain = |request: Request<'_>| !request.has_options && request.message_type == MessageType::Bootp;
            assert!(request.is_err() || request.is_ok_and(is_plain));
            return;
        }
        Err(_) => {
            assert!(request.is_err());
            return;
        }
    };
    let mut found = Vec::new();
    let mut is_whole = true;
    for option in Options::new(header) {
        assert!(is_whole, "an error is the last item");
        match option {
            Ok(option) => found.push((option.code, option.data)),
            Err(_) => is_whole = false,
        }
    }
    let expected = read(data);
    assert_eq!(is_whole.then_some(&found), expected.as_ref(), "as another reader has it");
    if !is_whole {
        assert!(matches!(request, Err(DropReason::BadOption | DropReason::NotOurs)), "{request:?}");
    }
    if let Ok(request) = request {
        // RFC 3396: what comes in parts is one.
        let has = |code: u8, data: &[u8]| {
            let parts = found.iter().filter(|(c, _)| *c == code);
            parts.flat_map(|(_, part)| *part).eq(data)
        };
        match request.message_type {
            MessageType::Bootp => assert!(found.iter().all(|(code, _)| *code != 53)),
            message_type => assert!(has(53, &[message_type.into()])),
        }
        assert!(request.client_id.is_none_or(|id| has(61, id) && id.len() >= 2));
        assert!(request.relay_agent_info.is_none_or(|info| has(82, info)));
        assert!(request.requested_address.is_none_or(|address| has(50, &address.octets())));
        assert!(request.server_id.is_none_or(|address| has(54, &address.octets())));
        assert!(request.hw.hlen <= 16);
    }
}

/// The options of a message by RFC 2131 4.1 and RFC 2132 9.3, written for plainness; `None`: one of them is malformed.
fn read(message: &[u8]) -> Option<Vec<(u8, &[u8])>> {
    let mut all = Vec::new();
    let mut overload = None;
    area(&message[240..], &mut all, Some(&mut overload))?;
    let overload = overload.unwrap_or(0);
    if overload & 1 != 0 {
        area(&message[108..236], &mut all, None)?;
    }
    if overload & 2 != 0 {
        area(&message[44..108], &mut all, None)?;
    }
    Some(all)
}

/// One area; option 52 is taken where `overload` is given, once, and is an error elsewhere.
fn area<'a>(bytes: &'a [u8], all: &mut Vec<(u8, &'a [u8])>, mut overload: Option<&mut Option<u8>>) -> Option<()> {
    let mut at = 0;
    while at < bytes.len() && bytes[at] != 255 {
        if bytes[at] == 0 {
            at += 1;
            continue;
        }
        let code = bytes[at];
        let end = at + 2 + usize::from(*bytes.get(at + 1)?);
        let data = bytes.get(at + 2..end)?;
        at = end;
        if code != 52 {
            all.push((code, data));
            continue;
        }
        let overload = overload.as_deref_mut()?;
        let &[value @ 1..=3] = data else { return None };
        if overload.replace(value).is_some() {
            return None;
        }
    }
    Some(())
}

/// The payload of each message.
pub fn seeds() -> Vec<Seed> {
    let overloaded = |value: u8| {
        let message = message::Message::new(message::DISCOVER, 1).option(52, &[value]);
        message.with(|m| {
            m.file = b"\x0c\x04file\xff".to_vec();
            m.sname = b"\x0d\x02sn\xff".to_vec();
        })
    };
    let plain = || message::Message::new(message::DISCOVER, 1);
    let mut seeds: Vec<Seed> = message::each().into_iter().map(|(name, message)| (name, message.payload())).collect();
    seeds.extend([
        ("overload-of-file", overloaded(1).payload()),
        ("overload-of-sname", overloaded(2).payload()),
        ("overload-of-4", overloaded(4).payload()),
        ("overload-twice", overloaded(1).option(52, &[2]).payload()),
        ("overload-in-file", overloaded(1).with(|m| m.file = vec![52, 1, 2]).payload()),
        ("option-past-the-end", plain().with(|m| m.options.extend([12, 200, 1])).payload()),
        (
            "pads-and-no-end",
            plain()
                .with(|m| m.options.extend([0, 0, 0]))
                .payload()
                .split_last()
                .map_or(vec![], |(_, rest)| rest.to_vec()),
        ),
        ("identifier-of-1-byte", plain().option(61, &[1]).payload()),
        ("twice-the-same", plain().option(61, b"\0a").option(61, b"\0b").payload()),
    ]);
    seeds
}
