//! Every seed through its function: what fuzzing found once stays found.

use std::{collections::BTreeSet, fs, panic};

use dhcp_xdp_fuzz::{TARGETS, seeds_folder};

#[test]
fn every_file_of_the_corpora_passes_its_target() {
    let mut failed = Vec::new();
    for target in TARGETS {
        let mut count = 0;
        for entry in fs::read_dir(seeds_folder().join(target.name)).expect("a folder a target") {
            let path = entry.unwrap().path();
            let bytes = fs::read(&path).unwrap();
            count += 1;
            if panic::catch_unwind(|| (target.run)(&bytes)).is_err() {
                failed.push(path);
            }
        }
        println!("{}: {count} files", target.name);
        assert!(count > 0, "{}", target.name);
    }
    assert!(failed.is_empty(), "{failed:?}");
}

#[test]
fn the_seeds_that_code_makes_are_those_in_the_repository() {
    for target in TARGETS {
        let mut names = BTreeSet::new();
        for (name, bytes) in (target.seeds)() {
            assert!(names.insert(name), "{}: {name} twice", target.name);
            let path = seeds_folder().join(target.name).join(name);
            let found = fs::read(&path).unwrap_or_else(|error| panic!("{}: {error}", path.display()));
            assert!(found == bytes, "{}: run `cargo run --package dhcp-xdp-fuzz --bin seeds`", path.display());
        }
    }
}

#[test]
fn each_target_has_its_program_and_no_program_is_without_target() {
    let folder = seeds_folder().parent().unwrap().join("fuzz_targets");
    let programs: BTreeSet<String> = fs::read_dir(folder)
        .unwrap()
        .map(|entry| entry.unwrap().path().file_stem().unwrap().to_str().unwrap().to_owned())
        .collect();
    assert_eq!(programs, TARGETS.iter().map(|target| target.name.to_owned()).collect());
}

#[test]
fn prefixes_of_every_seed_pass_too() {
    for target in TARGETS.iter().filter(|target| target.name != "control") {
        for (name, bytes) in (target.seeds)() {
            let step = (bytes.len() / 40).max(1);
            for len in (0..bytes.len()).step_by(step) {
                let passed = panic::catch_unwind(|| (target.run)(&bytes[..len])).is_ok();
                assert!(passed, "{} {name}: the first {len} bytes", target.name);
            }
        }
    }
}
