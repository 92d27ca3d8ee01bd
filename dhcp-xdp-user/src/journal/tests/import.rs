//! Leases from elsewhere: all of them or none, and nothing that a client was told of is taken back.

use super::*;

const NOW_S: u32 = 1_800_000_500;

fn begin(dir: &TempDir, replaces: bool) -> Import {
    Import::begin(dir.path(), NOW_S, replaces).unwrap()
}

fn of(number: u32, state: BindingState, expires_s: u32) -> Binding {
    Binding { state, expires_s, ..binding(number, 0, 0) }
}

#[test]
fn leases_come_into_an_empty_directory_as_they_are() {
    let dir = TempDir::new().unwrap();
    let all: Vec<Binding> = (0..3000).map(|number| binding(number, 1, number as usize % 256)).collect();
    let mut import = begin(&dir, false);
    for binding in &all {
        import.add(binding).unwrap();
    }
    assert_eq!(read(&dir).unwrap().0, [], "before the end there is nothing");
    assert_eq!(import.finish().unwrap(), Imported { written: 3000, known: 0 });
    assert_eq!(read(&dir).unwrap().0, all);
    assert_eq!(recover(&dir).unwrap().0, all);
    // Again: nothing new.
    let mut import = begin(&dir, false);
    for binding in &all {
        import.add(binding).unwrap();
    }
    let before = segments(&dir);
    assert_eq!(import.finish().unwrap(), Imported { written: 0, known: 3000 });
    assert_eq!(segments(&dir), before);
}

#[test]
fn an_import_that_is_given_up_leaves_nothing() {
    let dir = TempDir::new().unwrap();
    crashed_journal(&dir, &[binding(1, 1, 0)]);
    let mut import = begin(&dir, false);
    for number in 10..9000 {
        import.add(&binding(number, 1, 9)).unwrap();
    }
    let files = || fs::read_dir(dir.path()).unwrap().count();
    assert_eq!(files(), 2);
    drop(import);
    assert_eq!(files(), 1);
    // Or killed: what is unfinished counts for nothing, and does not stand in the way.
    let mut import = begin(&dir, false);
    import.add(&binding(10, 1, 9)).unwrap();
    std::mem::forget(import.segment.take());
    drop(import);
    assert_eq!((files(), read(&dir).unwrap().0.len()), (2, 1));
    let mut import = begin(&dir, false);
    import.add(&binding(11, 1, 9)).unwrap();
    import.finish().unwrap();
    let want = [binding(1, 1, 0), binding(11, 1, 9)];
    assert_eq!((files(), read(&dir).unwrap().0), (3, want.to_vec()));
    assert_eq!(recover(&dir).unwrap().0, want);
    compact::sweep(&DirectoryDisk::new(dir.path())).unwrap();
    assert_eq!(files(), 2, "the next start clears away what is unfinished");
}

#[test]
fn an_import_continues_a_journal_with_a_torn_end() {
    let dir = TempDir::new().unwrap();
    crashed_journal(&dir, &[binding(1, 1, 0), binding(2, 1, 0)]);
    let path = segments(&dir).pop().unwrap();
    let mut bytes = fs::read(&path).unwrap();
    bytes.extend([7; 100]);
    fs::write(&path, bytes).unwrap();
    let mut import = begin(&dir, false);
    import.add(&binding(3, 1, 0)).unwrap();
    import.finish().unwrap();
    let want = [binding(1, 1, 0), binding(2, 1, 0), binding(3, 1, 0)];
    assert_eq!(read(&dir).unwrap().0, want);
    assert!(inspect(dir.path(), NOW_S, &mut |_| {}).unwrap().is_sound());
    assert_eq!(recover(&dir).unwrap().0, want);
}

#[test]
fn what_a_client_was_told_of_is_not_taken_back() {
    use BindingState::{Bound, Declined, Released};
    let dir = TempDir::new().unwrap();
    let later = NOW_S + 100;
    let here =
        [of(1, Bound, later), of(2, Bound, later), of(3, Declined, later), of(4, Bound, NOW_S), of(5, Released, later)];
    crashed_journal(&dir, &here);
    let other =
        |number, state, expires_s| Binding { address: here[number as usize - 1].address, ..of(77, state, expires_s) };
    // Another client's, or released: the client here was promised more.
    for taken in [other(1, Bound, later + 5), of(1, Released, later), other(3, Bound, later)] {
        let error = begin(&dir, false).add(&taken).unwrap_err();
        assert!(matches!(error, NotImported::Taken { .. }), "{error}");
        assert!(error.to_string().contains("until 2027-01-15T08:10:00Z"), "{error}");
    }
    let mut import = begin(&dir, false);
    // The same client's: the later end counts.
    import.add(&of(2, Bound, later - 50)).unwrap();
    import.add(&other(4, Bound, later)).unwrap();
    import.add(&other(5, Bound, later)).unwrap();
    assert!(matches!(import.add(&of(2, Bound, later)), Err(NotImported::Twice(_))));
    assert_eq!(import.finish().unwrap(), Imported { written: 2, known: 1 });
    let kept = newest(read(&dir).unwrap().0);
    assert_eq!(kept[&here[1].at()], here[1]);
    for number in [4, 5] {
        let kept = &kept[&here[number - 1].at()];
        assert_eq!((kept.hw, kept.generation), (of(77, Bound, 0).hw, here[number - 1].generation + 1));
    }
    // The operator knows better.
    let mut import = begin(&dir, true);
    import.add(&other(1, Bound, later + 5)).unwrap();
    import.add(&of(2, Bound, later + 50)).unwrap();
    import.finish().unwrap();
    let kept = newest(read(&dir).unwrap().0);
    assert_eq!((kept[&here[0].at()].hw, kept[&here[1].at()].expires_s), (of(77, Bound, 0).hw, later + 50));
}

#[test]
fn an_import_needs_the_directory_for_itself() {
    let dir = TempDir::new().unwrap();
    let (journal, _lane) = start(&dir, Durability::Sync);
    assert!(matches!(Import::begin(dir.path(), NOW_S, false), Err(JournalError::InUse { .. })));
    journal.stop().unwrap();
    let import = begin(&dir, false);
    assert!(matches!(Journal::start(dir.path(), Durability::Sync, vec![]), Err(JournalError::InUse { .. })));
    drop(import);
}

#[test]
fn an_address_is_imported_once_for_each_address_space() {
    let dir = TempDir::new().unwrap();
    let spaced = |space| Binding { space: Space(space), ..of(7, BindingState::Bound, u32::MAX) };
    let mut import = Import::begin(dir.path(), 1, false).unwrap();
    import.add(&spaced(0)).unwrap();
    import.add(&spaced(9)).unwrap();
    assert_eq!(
        import.add(&spaced(9)).unwrap_err().to_string(),
        "address 10.0.0.7%9 comes a second time; every address once"
    );
    assert_eq!(import.finish().unwrap(), Imported { written: 2, known: 0 });
    let mut again = Import::begin(dir.path(), 1, false).unwrap();
    again.add(&spaced(9)).unwrap();
    let other = Binding { hw: binding(8, 0, 0).hw, ..spaced(0) };
    assert!(again.add(&other).unwrap_err().to_string().starts_with("address 10.0.0.7: the journal here has it bound"));
    again.add(&Binding { space: Space(10), ..other }).unwrap();
    assert_eq!(again.imported(), Imported { written: 1, known: 1 });
}
