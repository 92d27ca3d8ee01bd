//! What the documents point to is there: files, and the tests that the table of features names.

use std::{
    collections::HashSet,
    fs,
    path::{Path, PathBuf},
};

/// The repository.
fn root() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).parent().expect("xtask is in a folder").to_owned()
}

/// The documents with their texts.
fn documents() -> Vec<(PathBuf, String)> {
    let docs = fs::read_dir(root().join("docs")).expect("docs/ is there").map(|entry| entry.expect("readable").path());
    let documents = docs.filter(|path| path.extension().is_some_and(|extension| extension == "md"));
    let read = |path: PathBuf| {
        let text = fs::read_to_string(&path).expect("a document is text");
        (path, text)
    };
    documents.chain([root().join("README.md")]).map(read).collect()
}

/// The targets of a text's links: what stands between `](` and `)`.
fn links(text: &str) -> impl Iterator<Item = &str> {
    text.split("](").skip(1).filter_map(|rest| rest.split(')').next())
}

/// The anchor that a heading has.
fn anchor(heading: &str) -> String {
    let kept = heading.trim().chars().filter(|char| char.is_alphanumeric() || matches!(char, ' ' | '-' | '_'));
    kept.map(|char| if char == ' ' { '-' } else { char.to_ascii_lowercase() }).collect()
}

/// Whether a document has a heading of this anchor.
fn has_heading(text: &str, fragment: &str) -> bool {
    let headings = text.lines().filter(|line| line.starts_with('#')).map(|line| line.trim_start_matches('#'));
    headings.map(anchor).any(|anchor| anchor == fragment)
}

#[test]
fn what_a_document_links_to_is_there() {
    let mut checked = 0;
    for (document, text) in documents() {
        let folder = document.parent().expect("a document is in a folder");
        for link in links(&text).filter(|link| !link.contains("://")) {
            let (file, fragment) = link.split_once('#').unwrap_or((link, ""));
            let target = if file.is_empty() { document.clone() } else { folder.join(file) };
            assert!(target.exists(), "{}: {link} is not there", document.display());
            if !fragment.is_empty() && target.extension().is_some_and(|extension| extension == "md") {
                let target = fs::read_to_string(&target).expect("a document is text");
                assert!(has_heading(&target, fragment), "{}: {link} has no such heading", document.display());
            }
            checked += 1;
        }
    }
    assert!(checked > 10, "{checked} links in all documents");
}

/// The rows of the table of features, as cells without their edges.
fn features(readme: &str) -> Vec<Vec<&str>> {
    let section = readme.split("\n## Features\n").nth(1).expect("README has a section Features");
    let section = section.split("\n## ").next().unwrap_or_default();
    let rows = section.lines().filter(|line| line.starts_with('|')).skip(2);
    rows.map(|row| row.trim_matches('|').split('|').map(str::trim).collect()).collect()
}

/// Whether a source has a test of this name that the usual tests run: a function with the attribute or, end to end, a trial.
fn has_test(source: &str, name: &str) -> bool {
    let (function, text) = (format!("fn {name}("), format!("\"{name}\""));
    let is_test = |(at, _): (usize, &str)| {
        let above = source[..at].rsplit_once('\n').map_or("", |(above, _)| above);
        let above = above.lines().rev().map(str::trim);
        let above: Vec<_> = above.take_while(|line| line.starts_with("#[") || line.starts_with("//")).collect();
        let has = |attribute: &str| above.iter().any(|line| line.starts_with(attribute));
        (has("#[test]") || has("#[tokio::test")) && !has("#[ignore")
    };
    let is_trial = |(at, _): (usize, &str)| {
        let before = source[..at].trim_end();
        before.ends_with("test(")
    };
    source.match_indices(&function).any(is_test) || source.match_indices(&text).any(is_trial)
}

#[test]
fn a_function_without_the_attribute_and_a_mere_text_are_no_tests() {
    assert!(has_test("#[test]\nfn it_does() {}", "it_does"));
    assert!(has_test("    #[test]\n    // Why.\n    fn it_does() {}", "it_does"));
    assert!(has_test("vec![\n    test(\n \"it_does\", || run()),", "it_does"));
    assert!(!has_test("#[test]\nfn other() {}\n\nfn it_does() {}", "it_does"));
    assert!(!has_test("#[test]\n#[ignore = \"long\"]\nfn it_does() {}", "it_does"));
    assert!(!has_test("long(\"it_does\", || run())", "it_does"));
    assert!(!has_test("assert!(false, \"it_does\")", "it_does"));
    assert!(!has_test("#[test]\nfn it_does_more() {}", "it_does"));
}

#[test]
fn each_feature_is_linked_to_its_test_or_is_a_plain_no() {
    let readme = fs::read_to_string(root().join("README.md")).expect("README.md is there");
    let rows = features(&readme);
    assert!(rows.len() > 50, "{} features", rows.len());
    let mut seen = HashSet::new();
    for row in rows {
        let [feature, ours, others @ ..] = &row[..] else { panic!("{row:?}") };
        assert!(seen.insert(*feature), "{feature} is there twice");
        assert!(others.len() == 3, "{feature}: {others:?}");
        assert!(others.iter().all(|cell| !cell.is_empty() && !cell.contains('?')), "{feature}: {others:?}");
        if *ours == "no" {
            continue;
        }
        let tests: Vec<&str> = links(ours).collect();
        let words = ours.split(", ").filter(|word| word.starts_with('[') && word.ends_with(')')).count();
        assert!(!tests.is_empty() && tests.len() == words, "{feature}: {ours} is neither no nor links to tests alone");
        for link in tests {
            let (file, name) = link.split_once('#').unwrap_or_else(|| panic!("{feature}: {link} names no test"));
            let source = fs::read_to_string(root().join(file)).unwrap_or_else(|error| panic!("{file}: {error}"));
            assert!(has_test(&source, name), "{feature}: {file} has no test {name}");
        }
    }
}
