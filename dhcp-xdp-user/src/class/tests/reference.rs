//! Random expressions: printed and read again they are the same, and the machine says of random packets what a plain walk over
//! the tree says.

use std::net::Ipv4Addr;

use proptest::{collection::vec, prelude::*, sample::select, string::string_regex};

use super::{
    super::{
        ast::{Comparison, Item, Key, Kind, Node},
        names::{FIELDS, NUMBERS, RELAY_SUB_OPTIONS, Type},
        parse::parse,
        *,
    },
    compile_all,
    language::packet,
    option_named,
    walk::{Walk, without_places},
};
use crate::engine::testing::{Msg, discover};

fn node(kind: Kind) -> Node {
    Node { kind, span: 0..0 }
}

fn name() -> impl Strategy<Value = String> {
    let word = string_regex("[a-z_][a-z0-9_-]{0,8}").unwrap();
    // What reads as two hexadecimal digits and a colon is no name, nor is a keyword.
    word.prop_filter("no keyword", |name| !["and", "or", "not", "in"].contains(&name.as_str()))
}

fn key() -> impl Strategy<Value = Key> {
    prop_oneof![(0..i64::MAX).prop_map(Key::Number), name().prop_map(Key::Name)]
}

fn literal() -> impl Strategy<Value = Node> {
    prop_oneof![
        vec(any::<u8>(), 0..6).prop_map(Kind::Text),
        vec(any::<u8>(), 1..6).prop_map(Kind::Hex),
        (0..i64::MAX).prop_map(Kind::Number),
        any::<[u8; 4]>().prop_map(|octets| Kind::Address(octets.into())),
    ]
    .prop_map(node)
}

fn comparison() -> impl Strategy<Value = Comparison> {
    select(&Comparison::ALL[..])
}

/// Any tree that can be written, whatever it means.
fn any_tree() -> impl Strategy<Value = Node> {
    let leaf = prop_oneof![
        literal(),
        (i64::MIN + 1..0).prop_map(|number| node(Kind::Number(number))),
        (name(), prop::option::of(key())).prop_map(|(name, key)| node(Kind::Name(name, key))),
    ];
    leaf.prop_recursive(4, 40, 4, |inner| {
        let boxed = inner.clone().prop_map(Box::new);
        let item = prop_oneof![
            literal().prop_map(Item::One),
            (literal(), literal()).prop_map(|(first, last)| Item::Range(first, last)),
            (any::<[u8; 4]>(), 0..i64::MAX).prop_map(|(octets, len)| Item::Prefix(octets.into(), len, 0..0)),
        ];
        // A value among the arguments of a function, never a bare condition: that is how they are written.
        let argument = inner.clone().prop_filter("a value", |node| is_value(&node.kind));
        prop_oneof![
            (boxed.clone(), name(), prop::option::of(key()))
                .prop_map(|(base, name, key)| Kind::Attribute(base, name, key)),
            (name(), vec(argument, 0..4)).prop_map(|(name, arguments)| Kind::Call(name, arguments)),
            (comparison(), boxed.clone(), boxed.clone()).prop_map(|(how, left, right)| Kind::Compare(how, left, right)),
            (boxed.clone(), any::<bool>(), vec(item, 1..4)).prop_map(|(value, negated, items)| Kind::In {
                value,
                negated,
                items
            }),
            boxed.prop_map(Kind::Not),
            vec(inner.clone(), 2..4).prop_map(Kind::And),
            vec(inner, 2..4).prop_map(Kind::Or),
        ]
        .prop_map(node)
    })
}

fn is_value(kind: &Kind) -> bool {
    !matches!(kind, Kind::Compare(..) | Kind::In { .. } | Kind::Not(_) | Kind::And(_) | Kind::Or(_))
}

/// Expressions of bytes that mean something.
fn bytes() -> impl Strategy<Value = Node> {
    let option =
        |base: Node, code: u8| node(Kind::Attribute(Box::new(base), "option".into(), Some(Key::Number(code.into()))));
    let top = |name: &str, key| node(Kind::Name(name.into(), key));
    let code = || select(&[12u8, 43, 60, 77, 82, 125][..]);
    let leaf = prop_oneof![
        3 => code().prop_map(move |code| top("option", Some(Key::Number(code.into())))),
        1 => (1u8..4).prop_map(move |sub| top("relay", Some(Key::Number(sub.into())))),
        1 => select(RELAY_SUB_OPTIONS).prop_map(move |(name, _)| {
            node(Kind::Attribute(Box::new(top("relay", None)), name.into(), None))
        }),
        1 => (0u32..3).prop_map(move |enterprise| top("vendor", Some(Key::Number(enterprise.into())))),
        1 => select(&["hw_address", "interface"][..]).prop_map(move |name| top(name, None)),
        2 => vec(select(&b"ab\0"[..]), 0..4).prop_map(|text| node(Kind::Text(text))),
    ];
    leaf.prop_recursive(3, 12, 3, move |inner| {
        let boxed = || inner.clone().prop_map(Box::new);
        let call = |name: &str, arguments| node(Kind::Call(name.into(), arguments));
        prop_oneof![
            (inner.clone(), 1u8..4).prop_map(move |(base, code)| option(base, code)),
            (boxed(), 0u32..3).prop_map(|(base, enterprise)| {
                node(Kind::Attribute(base, "vendor".into(), Some(Key::Number(enterprise.into()))))
            }),
            (boxed(), select(&["hex", "text"][..])).prop_map(|(base, name)| node(Kind::Attribute(
                base,
                name.into(),
                None
            ))),
            (inner.clone(), select(&["lower", "upper"][..])).prop_map(move |(base, name)| call(name, vec![base])),
            vec(inner.clone(), 1..4).prop_map(move |parts| call("concat", parts)),
            (inner.clone(), -4i64..5, prop::option::of(0i64..4)).prop_map(move |(base, start, len)| {
                let len = len.map_or(node(Kind::Name("all".into(), None)), |len| node(Kind::Number(len)));
                call("substring", vec![base, node(Kind::Number(start)), len])
            }),
        ]
    })
}

/// Expressions of numbers or addresses, each with a few values of the same type.
fn numbers() -> impl Strategy<Value = (Node, Node, Vec<Item>)> {
    let fields: Vec<Node> = FIELDS
        .iter()
        .filter(|(.., found)| *found == Type::Number)
        .map(|(name, ..)| match name.split_once('.') {
            Some((root, name)) => {
                node(Kind::Attribute(Box::new(node(Kind::Name(root.into(), None))), name.into(), None))
            }
            None => node(Kind::Name((*name).into(), None)),
        })
        .chain([node(Kind::Name("message_type".into(), None))])
        .collect();
    let small = || {
        prop_oneof![(0i64..400).prop_map(Kind::Number), select(NUMBERS).prop_map(|(n, _)| Kind::Name(n.into(), None))]
    };
    let number = prop_oneof![
        select(fields),
        bytes().prop_map(|of| node(Kind::Attribute(Box::new(of), "number".into(), None))),
        bytes().prop_map(|of| node(Kind::Call("length".into(), vec![of]))),
    ];
    let numbers = (number.clone(), prop_oneof![number, small().prop_map(node)], vec((small(), 0i64..9), 1..4))
        .prop_map(|(left, right, items)| {
            let item = |(first, more)| match first {
                Kind::Number(from) if more > 0 => {
                    Item::Range(node(Kind::Number(from)), node(Kind::Number(from + more)))
                }
                one => Item::One(node(one)),
            };
            (left, right, items.into_iter().map(item).collect())
        });
    let near = || (0u8..4, 0u8..4).prop_map(|(c, d)| Ipv4Addr::new(10, 0, c, d));
    let address = || {
        prop_oneof![
            select(&["giaddr", "ciaddr", "destination"][..]).prop_map(|name| node(Kind::Name(name.into(), None))),
            bytes().prop_map(|of| node(Kind::Attribute(Box::new(of), "address".into(), None))),
            near().prop_map(|address| node(Kind::Address(address))),
        ]
    };
    let prefix = (near(), 0u8..33).prop_map(|(address, len)| {
        let prefix = ipnet::Ipv4Net::new(address, len).unwrap().trunc();
        Item::Prefix(prefix.addr(), prefix.prefix_len().into(), 0..0)
    });
    let addresses = (address(), address(), vec(prefix, 1..3));
    prop_oneof![numbers, addresses]
}

/// Conditions that mean something.
fn condition() -> impl Strategy<Value = Node> {
    let call = |name: &'static str, arguments| node(Kind::Call(name.into(), arguments));
    let text = || vec(select(&b"ab\0"[..]), 0..3).prop_map(|text| Item::One(node(Kind::Text(text))));
    let leaf = prop_oneof![
        any::<bool>().prop_map(|value| node(Kind::Name(value.to_string(), None))),
        Just(node(Kind::Name("known".into(), None))),
        Just(node(Kind::Attribute(Box::new(node(Kind::Name("flags".into(), None))), "broadcast".into(), None))),
        Just(call("member", vec![node(Kind::Text(b"other".to_vec()))])),
        (bytes(), bytes(), any::<bool>()).prop_map(|(left, right, equal)| {
            let how = if equal { Comparison::Equal } else { Comparison::NotEqual };
            node(Kind::Compare(how, Box::new(left), Box::new(right)))
        }),
        (bytes(), bytes(), select(&["starts_with", "ends_with", "contains"][..]))
            .prop_map(move |(left, right, name)| call(name, vec![left, right])),
        prop_oneof![bytes(), numbers().prop_map(|(number, ..)| number)].prop_map(|of| node(Kind::Attribute(
            Box::new(of),
            "exists".into(),
            None
        ))),
        (numbers(), comparison()).prop_map(|((left, right, _), how)| node(Kind::Compare(
            how,
            Box::new(left),
            Box::new(right)
        ))),
        (numbers(), any::<bool>()).prop_map(|((left, _, items), negated)| node(Kind::In {
            value: Box::new(left),
            negated,
            items
        })),
        (bytes(), any::<bool>(), vec(text(), 1..4)).prop_map(|(left, negated, items)| node(Kind::In {
            value: Box::new(left),
            negated,
            items
        })),
    ];
    leaf.prop_recursive(3, 16, 3, |inner| {
        prop_oneof![
            inner.clone().prop_map(|inner| node(Kind::Not(Box::new(inner)))),
            vec(inner.clone(), 2..4).prop_map(|nodes| node(Kind::And(nodes))),
            vec(inner, 2..4).prop_map(|nodes| node(Kind::Or(nodes))),
        ]
    })
}

/// Messages whose options mean something now and then.
fn message() -> impl Strategy<Value = (Vec<u8>, [Option<u16>; 2], bool)> {
    let small = || vec(select(&b"aAb\0"[..]), 0..5);
    let subs = || {
        vec((0u8..4, small()), 0..4).prop_map(|subs| {
            subs.into_iter()
                .flat_map(|(code, data)| [&[code, data.len() as u8][..], &data].concat())
                .collect::<Vec<u8>>()
        })
    };
    let vendors = vec((0u8..3, subs()), 0..3).prop_map(|vendors| {
        vendors
            .into_iter()
            .flat_map(|(id, data)| [&[0, 0, 0, id, data.len() as u8][..], &data].concat())
            .collect::<Vec<u8>>()
    });
    let option = prop_oneof![
        (select(&[12u8, 60, 77][..]), small()),
        (select(&[43u8, 82][..]), subs()),
        vendors.prop_map(|data| (125, data)),
        (select(&[12u8, 43, 60, 77, 82, 125][..]), vec(any::<u8>(), 0..6)),
    ];
    let message = (vec(option, 0..6), any::<[u16; 2]>(), (0u8..4, 0u8..4), 0u8..17, any::<u8>());
    let vlan = || prop::option::of(0u16..400);
    (message, (vlan(), vlan()), any::<bool>()).prop_map(|((options, [flags, _], (c, d), hlen, kind), vlans, known)| {
        let msg = options.into_iter().fold(discover(1), |msg, (code, data)| msg.option(code, &data));
        let msg: Msg = msg.with(|msg| {
            msg.flags = flags;
            msg.giaddr = Ipv4Addr::new(10, 0, c, d);
            msg.hlen = hlen;
            msg.options[0].1 = vec![kind % 9];
        });
        (msg.payload(), [vlans.0, vlans.1], known)
    })
}

proptest! {
    #[test]
    fn what_is_printed_is_read_as_the_same(tree in any_tree()) {
        let text = tree.to_string();
        let read = parse(&text);
        prop_assert!(read.is_ok(), "{text}: {read:?}");
        prop_assert_eq!(without_places(&read.unwrap()), tree, "{}", text);
    }

    #[test]
    fn the_machine_says_what_a_plain_walk_says(
        tree in condition(),
        (payload, vlans, known) in message(),
        is_other: bool,
    ) {
        let text = tree.to_string();
        let other = if is_other { "true" } else { "false" };
        let class = |name, condition| ClassSource { name, condition: Some(condition), spawn: None };
        let classes = compile_all(&[class("it", &text), class("other", other)]);
        prop_assert!(classes.is_ok(), "{text}: {classes:?}");
        let packet = Packet { vlans, known, ..packet(&payload) };
        let walk = Walk::new(packet, is_other, &option_named);
        let expected = walk.condition(&tree);
        prop_assert!(walk.fits(), "small as they are");
        prop_assert_eq!(classes.unwrap().members(&packet).contains(0), expected, "{}", text);
    }

    #[test]
    fn any_text_is_read_or_refused_and_faults_lie_within_it(text in "\\PC{0,60}|[a-z0-9 ().,\\[\\]<>=!'\"\\\\/:#-]{0,80}") {
        if let Err(faults) = compile_all(&[ClassSource { name: "it", condition: Some(&text), spawn: None }]) {
            prop_assert!(!faults.is_empty());
            for ClassFault { fault, .. } in faults {
                prop_assert!(fault.span.start <= fault.span.end && fault.span.end <= text.len(), "{fault:?}");
                prop_assert!(text.is_char_boundary(fault.span.start) && text.is_char_boundary(fault.span.end));
                prop_assert!(!fault.with_excerpt(&text).is_empty());
            }
        }
    }

    #[test]
    fn any_order_of_words_is_read_or_refused(words in vec(select(WORDS), 0..30)) {
        let text = words.join(" ");
        if let Err(faults) = compile_all(&[ClassSource { name: "it", condition: Some(&text), spawn: None }]) {
            prop_assert!(!faults.is_empty());
        }
    }

    #[test]
    fn any_message_is_asked_without_panic(tree in condition(), options in vec(any::<u8>(), 0..400)) {
        let text = tree.to_string();
        let class = |name, condition| ClassSource { name, condition: Some(condition), spawn: None };
        let classes = compile_all(&[class("it", &text), class("other", "true")]).unwrap();
        let mut payload = discover(1).payload();
        payload.truncate(240);
        payload.extend(options);
        classes.members(&packet(&payload));
    }
}

const WORDS: &[&str] = &[
    "and",
    "or",
    "not",
    "in",
    "(",
    ")",
    "[",
    "]",
    ".",
    ",",
    "==",
    "<",
    "/",
    "-",
    "option",
    "relay",
    "60",
    "exists",
    "'a'",
    "10.0.0.0",
    "0x0a",
    "substring",
    "member",
    "giaddr",
    "all",
    "true",
    "=",
    "'",
];
