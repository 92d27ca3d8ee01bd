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
fn the_commented_examples_pass_too() {
    let target = TARGETS.iter().find(|target| target.name == "config").unwrap();
    let folder = seeds_folder().join("../../examples");
    let files = fs::read_dir(folder).unwrap().map(|entry| entry.unwrap().path());
    let texts: Vec<_> = files.filter(|path| path.extension().is_some_and(|extension| extension == "toml")).collect();
    assert!(!texts.is_empty());
    for path in texts {
        (target.run)(&fs::read(path).unwrap());
    }
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

/// A fuzzer's work in small: the same changes each time, so that a failure can be had again.
struct Mutator(u64);

impl Mutator {
    /// A number below `end` (xorshift, Marsaglia 2003).
    fn below(&mut self, end: usize) -> usize {
        self.0 ^= self.0 << 13;
        self.0 ^= self.0 >> 7;
        self.0 ^= self.0 << 17;
        self.0 as usize % end.max(1)
    }

    fn change(&mut self, bytes: &mut Vec<u8>, other: &[u8]) {
        let at = self.below(bytes.len());
        match self.below(8) {
            0 | 1 if !bytes.is_empty() => bytes[at] ^= 1 << self.below(8),
            2 if !bytes.is_empty() => bytes[at] = [0, 1, 0x7f, 0x80, 0xff][self.below(5)],
            3 if !bytes.is_empty() => bytes[at] = self.below(256) as u8,
            4 => bytes.insert(at, self.below(256) as u8),
            5 => bytes.truncate(at),
            6 => drop(bytes.drain(at..(at + self.below(8)).min(bytes.len()))),
            _ => {
                let from = self.below(other.len());
                let part = &other[from..(from + self.below(64)).min(other.len())];
                bytes.splice(at..at, part.iter().copied());
            }
        }
    }
}

/// How many changed inputs a target gets: about a second's worth of each.
fn tries(target: &str) -> usize {
    match target {
        "walk" | "options" => 50_000,
        "batch" | "config" | "control" => 1_000,
        "expression" => 3_000,
        _ => 5_000,
    }
}

#[test]
fn changed_seeds_pass_too() {
    for target in TARGETS {
        let seeds = (target.seeds)();
        let mut mutator = Mutator(0x9e37_79b9_7f4a_7c15);
        for n in 0..tries(target.name) {
            let mut bytes = seeds[n % seeds.len()].1.clone();
            for _ in 0..=mutator.below(4) {
                let other = mutator.below(seeds.len());
                mutator.change(&mut bytes, &seeds[other].1);
            }
            let passed = panic::catch_unwind(|| (target.run)(&bytes)).is_ok();
            assert!(passed, "{}: change {n} of {}: {bytes:02x?}", target.name, seeds[n % seeds.len()].0);
        }
    }
}
