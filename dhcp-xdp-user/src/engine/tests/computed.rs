//! Options whose values are computed for each reply.

use super::*;

fn served(options: &str) -> String {
    format!(
        "[[subnet]]\nprefix = \"192.0.2.0/24\"\ninterface = \"lan0\"\nserver_id = \"192.0.2.1\"\n\
         pools = [\"192.0.2.10-192.0.2.19\"]\n{options}"
    )
}

/// The data of an option of the OFFER to a message.
fn offered(options: &str, msg: &super::super::testing::Msg, code: u8) -> Option<Vec<u8>> {
    bed_of(&served(options)).reply(msg).option(code).map(<[u8]>::to_vec)
}

#[test]
fn a_host_name_is_made_from_the_address_of_the_reply() {
    let mut bed = bed_of(&served(
        "[subnet.options]\nhost-name = { computed = \"concat('dhcp-', dashed(your_address), '.example.net')\" }\n",
    ));
    let offer = bed.reply(&discover(1));
    let name = format!("dhcp-{}.example.net", offer.yiaddr().to_string().replace('.', "-"));
    assert_eq!(offer.option(code::HOST_NAME), Some(name.as_bytes()));
    let ack = bed.reply(&selecting(1, SERVER, offer.yiaddr()));
    assert_eq!((ack.message_type(), ack.option(code::HOST_NAME)), (Ack, Some(name.as_bytes())));
    let inform = bed.reply(&message(MessageType::Inform, 2).unicast(lan(77)));
    assert_eq!(inform.option(code::HOST_NAME), Some(&b"dhcp-192-0-2-77.example.net"[..]), "the client's own address");
    let nak = bed.reply(&selecting(3, SERVER, offer.yiaddr()));
    assert_eq!((nak.message_type(), nak.option(code::HOST_NAME)), (Nak, None));
}

#[test]
fn a_value_is_written_as_the_type_of_its_option_says() {
    let relay = discover(7).option(82, b"\x01\x04eth7").relayed();
    for (options, code, expected) in [
        ("12 = { computed = \"concat('cm-', hex(hw_address))\" }", 12, &b"cm-020000000007"[..]),
        ("224 = { computed = \"relay.circuit-id\" }", 224, b"eth7"),
        ("tftp-server-name = { computed = \"dotted(giaddr)\" }", 66, b"192.0.2.3"),
        ("routers = { computed = \"giaddr\" }", 3, &[192, 0, 2, 3]),
        ("interface-mtu = { computed = \"htype\" }", 26, &[0, 1]),
        ("ip-forwarding = { computed = \"starts_with(relay.circuit-id, 'eth')\" }", 19, &[1]),
        ("time-offset = 5\narp-cache-timeout = { computed = \"secs\" }", 35, &[0, 0, 0, 7]),
        ("domain-name = { computed = \"concat('vlan', decimal(secs), '.net')\" }", 15, b"vlan7.net"),
    ] {
        let via = relay.clone().with(|msg| msg.giaddr = lan(3));
        let data = offered(&format!("[subnet.options]\n{options}\n"), &via, code);
        assert_eq!(data.as_deref(), Some(expected), "{options}");
    }
}

#[test]
fn what_has_no_value_or_does_not_fit_its_type_is_left_out() {
    for options in [
        "host-name = { computed = \"option[77]\" }",
        "interface-mtu = { computed = \"xid\" }",
        "routers = { computed = \"option[50].address\" }",
        "host-name = { computed = \"concat(option[60], option[60])\" }",
    ] {
        let msg = discover(1).option(60, &[b'a'; 200]);
        let offer = bed_of(&served(&format!("[subnet.options]\n{options}\n"))).reply(&msg);
        assert!([12, 26, 3].into_iter().all(|code| offer.option(code).is_none()), "{options}");
    }
}

#[test]
fn a_computed_option_is_sent_as_any_other_to_who_asks_for_it() {
    let options =
        "[subnet.options]\nhost-name = { computed = \"'a'\" }\ndomain-name = { computed = \"'b'\", always = true }\n";
    let mut bed = bed_of(&served(options));
    let offer = bed.reply(&discover(1).option(55, &[3]));
    assert_eq!((offer.option(12), offer.option(15)), (None, Some(&b"b"[..])));
    let offer = bed.reply(&discover(1).option(55, &[15, 12]));
    assert_eq!(offer.codes().into_iter().filter(|code| [12, 15].contains(code)).collect::<Vec<_>>(), [15, 12]);
}

#[test]
fn the_level_that_counts_is_the_one_that_is_computed() {
    let classes = "[[class]]\nname = \"voip\"\nmatch = \"option[60] == 'voip'\"\n\
                   options = { host-name = { computed = \"concat('phone-', dashed(your_address))\" } }\n\
                   [[class]]\nname = \"camera\"\nmatch = \"option[60] == 'camera'\"\noptions = { host-name = \"camera\" }\n";
    let options = format!(
        "{classes}[defaults.options]\nhost-name = {{ computed = \"concat('host-', dashed(your_address))\" }}\n"
    );
    let mut bed = bed_of(&served(&options));
    let mut name = |n: u8, class: &[u8]| {
        let offer = bed.reply(&discover(n).option(60, class));
        let address = offer.yiaddr().to_string().replace('.', "-");
        String::from_utf8(offer.option(12).unwrap().to_vec()).unwrap().replace(&address, "A")
    };
    assert_eq!([name(1, b"voip"), name(2, b"camera"), name(3, b"x")], ["phone-A", "camera", "host-A"]);
}

#[test]
fn an_expression_may_ask_for_classes_and_for_whether_the_client_is_known() {
    let options = "[[class]]\nname = \"voip\"\nmatch = \"option[60] == 'voip'\"\n\
                   [[reservation]]\nhw_address = \"02:00:00:00:00:01\"\nclasses = [\"voip\"]\n\
                   [defaults.options]\nip-forwarding = { computed = \"member('voip') and known\" }\n";
    assert_eq!(offered(options, &discover(1), 19), Some(vec![1]));
    assert_eq!(offered(options, &discover(2).option(60, b"voip"), 19), Some(vec![0]));
}

#[test]
fn computed_options_of_a_whole_batch_do_not_mix() {
    let mut bed =
        bed_of(&served("[subnet.options]\nhost-name = { computed = \"concat('h', dashed(your_address))\" }\n"));
    let frames: Vec<Vec<u8>> = (1..=10).map(|n| discover(n).frame()).collect();
    let answers = bed.frames(&frames);
    assert_eq!(answers.len(), 10);
    for answer in answers {
        let answer = answer.unwrap();
        let name = format!("h{}", answer.yiaddr().to_string().replace('.', "-"));
        assert_eq!(answer.option(12), Some(name.as_bytes()));
    }
}

#[test]
fn more_than_a_reply_has_room_for_is_left_out_and_the_rest_is_whole() {
    let options: String =
        (224..232).map(|code| format!("{code} = {{ computed = \"concat(option[60], '{code}')\" }}\n")).collect();
    let msg = discover(1).option(60, &[b'x'; 100]).option(57, &1500u16.to_be_bytes());
    let offer = bed_of(&served(&format!("[subnet.options]\n{options}"))).reply(&msg);
    let sent: Vec<u8> = offer.codes().into_iter().filter(|code| *code >= 224).collect();
    assert_eq!(sent, [224, 225, 226, 227], "105 bytes each, 512 in all");
    assert!(sent.iter().all(|code| offer.option(*code).unwrap().ends_with(code.to_string().as_bytes())));
}

// RFC 4578

#[test]
fn client_machine_identifier_must_be_present_in_all_packets_by_rfc_4578() {
    let machine = [&[0][..], &[0x5a; 16]].concat();
    let mut bed = Bed::new();
    let offer = bed.reply(&discover(1).option(97, &machine).option(55, &[1]));
    assert_eq!(offer.option(97), Some(&machine[..]));
    let ack = bed.reply(&selecting(1, SERVER, offer.yiaddr()).option(97, &machine));
    assert_eq!((ack.message_type(), ack.option(97)), (Ack, Some(&machine[..])));
    assert_eq!(bed.reply(&discover(2).option(55, &[1, 97])).option(97), None, "a client that has none");
    let nak = bed.reply(&selecting(1, SERVER, lan(99)).option(97, &machine));
    assert_eq!((nak.message_type(), nak.option(97)), (Nak, None), "RFC 2131 table 3");
}

#[test]
fn a_client_of_several_architectures_gets_the_file_of_the_first_that_has_one_by_rfc_4578() {
    let mut bed = bed_of(&served("boot_file = \"bios\"\nboot_files = { efi-x64 = \"x64\", efi-arm64 = \"arm64\" }\n"));
    let mut file = |architectures: &[u8]| {
        let file = bed.reply(&discover(1).option(93, architectures)).message.fname().map(<[u8]>::to_vec);
        String::from_utf8(file.unwrap()).unwrap().trim_end_matches('\0').to_owned()
    };
    assert_eq!(file(&[0, 0]), "bios");
    assert_eq!(file(&[0, 9, 0, 7]), "x64", "none for the first of them");
    assert_eq!(file(&[0, 11, 0, 7]), "arm64");
    assert_eq!(file(&[0, 9, 0, 10]), "bios");
    assert_eq!(file(&[7]), "bios", "half a number is none");
    assert_eq!(file(&[0, 7, 0]), "x64", "and takes nothing from the whole ones");
}

#[test]
fn architectures_that_come_in_parts_are_one_list_by_rfc_3396() {
    let mut bed = bed_of(&served("boot_file = \"bios\"\nboot_files = { efi-x64 = \"x64\", efi-arm64 = \"arm64\" }\n"));
    for [first, second] in [[&[0, 7][..], &[0, 11]], [&[0], &[7, 0, 11]], [&[0, 7, 0], &[11]], [&[], &[0, 7]]] {
        let offer = bed.reply(&discover(1).option(93, first).option(93, second));
        assert!(offer.message.fname().unwrap().starts_with(b"x64"), "{first:?} {second:?}");
    }
}
