//! The quick flags against the file.

use super::*;

#[test]
fn quick_flags_equal_the_file_with_the_same_content() {
    let quick = QuickFlags {
        pool: Some("192.0.2.10-192.0.2.99,192.0.2.200".into()),
        router: Some("192.0.2.1".into()),
        dns: Some("192.0.2.53, 198.51.100.53".into()),
        lease_time_s: Some(600),
        state_dir: Some("/tmp/state".into()),
        workers: Some(2),
        busy_poll: true,
        durability: Some("off".into()),
        ..flags()
    };
    let file = "state_dir = \"/tmp/state\"\ndurability = \"off\"\n[[interface]]\nname = \"eth1\"\nworkers = 2\nbusy_poll = true\n[[subnet]]\nprefix = \"192.0.2.0/24\"\ninterface = \"eth1\"\npools = [\"192.0.2.10-192.0.2.99\", \"192.0.2.200\"]\nlease_time_s = 600\n[subnet.options]\nrouters = [\"192.0.2.1\"]\ndns-servers = [\"192.0.2.53\", \"198.51.100.53\"]\n";
    let (quick, file) = (quick.check(&Lab).unwrap(), parse("f", file, &Lab).unwrap());
    assert_eq!(format!("{quick:?}"), format!("{file:?}"));
}

#[test]
fn without_a_pool_all_hosts_but_ours_and_the_router_are_leased() {
    let checked = QuickFlags { router: Some("192.0.2.254".into()), ..flags() }.check(&Lab).unwrap();
    assert_eq!(checked.warnings, []);
    let pools: Vec<String> = checked.config.subnets[0].pools.iter().map(ToString::to_string).collect();
    assert_eq!(pools, ["192.0.2.2-192.0.2.253"]);
}

#[test]
fn errors_of_quick_flags_name_the_flag() {
    let error = |quick: QuickFlags| match quick.check(&Lab) {
        Ok(checked) => panic!("{checked:?}"),
        Err(rejected) => rejected.to_string(),
    };
    assert!(
        error(QuickFlags { subnet: "192.0.2.1/24".into(), ..flags() })
            .starts_with("--subnet: error: found 192.0.2.1/24, which has host bits set; the prefix is 192.0.2.0/24")
    );
    assert!(error(QuickFlags { subnet: "x".into(), ..flags() }).starts_with("--subnet: error: found `x`"));
    assert!(
        error(QuickFlags { pool: Some("10.0.0.1".into()), ..flags() })
            .starts_with("--pool: error: 10.0.0.1 is outside")
    );
    assert!(error(QuickFlags { router: Some("x".into()), ..flags() }).starts_with("--router: error: found `x`"));
    assert!(error(QuickFlags { dns: Some("192.0.2.1,x".into()), ..flags() }).starts_with("--dns: error: found `x`"));
    assert!(error(QuickFlags { lease_time_s: Some(0), ..flags() }).starts_with("--lease-time: error: found 0"));
    assert!(error(QuickFlags { workers: Some(99), ..flags() }).starts_with("--workers: error: found 99"));
    assert!(
        error(QuickFlags { durability: Some("x".into()), ..flags() }).starts_with("--durability: error: found `x`")
    );
    assert!(
        error(QuickFlags { state_dir: Some(String::new()), ..flags() }).starts_with("--state-dir: error: found ``")
    );
    assert!(error(QuickFlags { interface: String::new(), ..flags() }).starts_with("--interface: error: found ``"));
}

proptest::proptest! {
    #[test]
    fn no_text_makes_the_reader_panic(text in "[a-z0-9\\[\\]=\". /\n-]{0,200}") {
        let _ = parse("f", &text, &AnyMachine);
    }

    #[test]
    fn no_value_makes_the_checks_panic(pool in "[0-9./-]{0,40}", number in proptest::prelude::any::<i64>(), part in proptest::prelude::any::<f64>()) {
        let text = format!("{HEAD}pools = [\"{pool}\"]\nexclude = [\"{pool}\"]\nlease_time_s = {number}\nmin_lease_time_s = {number}\nt1 = {part:?}\nt2 = {part:?}\n");
        let _ = parse("f", &text, &Lab);
        let _ = QuickFlags { pool: Some(pool.clone()), subnet: pool, lease_time_s: Some(number), workers: Some(number), ..flags() }.check(&Lab);
    }
}
