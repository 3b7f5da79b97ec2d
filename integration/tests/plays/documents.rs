//! What the documents point to is there, and they speak of the product alone.

use std::collections::HashSet;
use std::fs;
use std::path::{Path, PathBuf};

/// The points of RFC 9750 the conformance document answers, by section: letter and how many.
const POINTS: &[(char, usize)] = &[
    ('A', 15),
    ('K', 10),
    ('D', 16),
    ('F', 16),
    ('P', 16),
    ('S', 13),
];
const CONFORMANCE: &str = "mls/CONFORMANCE.md";
const NO_TEST: &str = "—";
/// Lines between a test's attribute and its function.
const ATTRIBUTE_WITHIN: usize = 6;

fn root() -> PathBuf {
    Path::new(&std::env::var("CARGO_MANIFEST_DIR").unwrap()).join("..")
}

fn read(path: &str) -> String {
    fs::read_to_string(root().join(path)).unwrap_or_else(|error| panic!("{path}: {error}"))
}

/// All files but those of git and of builds; a path, from the root, with its bytes.
fn files() -> Vec<(PathBuf, Vec<u8>)> {
    let (mut found, mut folders) = (Vec::new(), vec![root()]);
    while let Some(folder) = folders.pop() {
        for entry in fs::read_dir(folder).unwrap() {
            let entry = entry.unwrap();
            let (path, kind) = (entry.path(), entry.file_type().unwrap());
            let name = entry.file_name();
            if kind.is_dir() && name != ".git" && name != "target" && name != "__pycache__" {
                folders.push(path);
            } else if kind.is_file() {
                let content = fs::read(&path).unwrap();
                found.push((path.strip_prefix(root()).unwrap().to_owned(), content));
            }
        }
    }
    assert!(found.len() > 100, "only {} files", found.len());
    found
}

/// The functions of a source file that are tests.
fn tests(source: &str) -> Vec<String> {
    let lines: Vec<&str> = source.lines().map(str::trim).collect();
    let is_attribute =
        |line: &&str| line.starts_with("#[test") || line.starts_with("#[tokio::test");
    let mut found = Vec::new();
    for (place, line) in lines.iter().enumerate() {
        let line = line.strip_prefix("async ").unwrap_or(line);
        let Some((name, _)) = line
            .strip_prefix("fn ")
            .and_then(|rest| rest.split_once('('))
        else {
            continue;
        };
        let above = &lines[place.saturating_sub(ATTRIBUTE_WITHIN)..place];
        // Nothing but attributes and comments stands between the two.
        let between = above.iter().rev().take_while(|line| {
            line.starts_with('#') || line.starts_with("//") || !line.contains(['{', '}', ';'])
        });
        if between.clone().any(is_attribute) {
            found.push(name.to_owned());
        }
    }
    found
}

/// What stands in backticks.
fn quoted(cell: &str) -> Vec<&str> {
    cell.split('`').skip(1).step_by(2).collect()
}

/// The targets of links to files, without their anchors.
fn links(document: &str) -> Vec<&str> {
    document
        .split("](")
        .skip(1)
        .filter_map(|rest| rest.split_once(')'))
        .map(|(target, _)| target.split('#').next().unwrap_or(target))
        .filter(|target| !target.is_empty() && !target.contains("://"))
        .collect()
}

/// Rows of the tables of points: id, what we do, where, test.
fn rows(document: &str) -> Vec<[&str; 4]> {
    document
        .lines()
        .filter_map(|line| line.strip_prefix("| ")?.strip_suffix(" |"))
        .map(|line| line.split(" | ").collect::<Vec<_>>())
        .map(|cells| {
            <[&str; 4]>::try_from(cells).unwrap_or_else(|cells| panic!("a row of {cells:?}"))
        })
        .filter(|[id, ..]| *id != "id")
        .collect()
}

#[test]
fn every_point_of_the_architecture_is_answered_once() {
    let document = read(CONFORMANCE);
    let words: Vec<&str> = document
        .split(|c: char| !c.is_ascii_alphanumeric() && c != '_')
        .collect();
    let points = POINTS
        .iter()
        .flat_map(|(letter, count)| (1..=*count).map(move |number| format!("{letter}{number}")));
    let rows = rows(&document);
    let points: Vec<String> = points.collect();
    for point in &points {
        let times = words.iter().filter(|word| *word == point).count();
        assert_eq!(times, 1, "{point} is in {CONFORMANCE} {times} times");
    }
    let ids: Vec<&str> = rows.iter().map(|[id, ..]| *id).collect();
    assert_eq!(ids, points, "each point has a row, in order");
    assert_eq!(ids.len(), 86);
}

#[test]
fn every_answer_names_a_place_and_a_test_or_says_what_is_missing() {
    let document = read(CONFORMANCE);
    let known: HashSet<String> = files()
        .into_iter()
        .filter(|(path, _)| path.extension().is_some_and(|extension| extension == "rs"))
        .flat_map(|(_, content)| tests(&String::from_utf8(content).unwrap()))
        .collect();
    assert!(known.len() > 300, "only {} tests", known.len());
    for [id, what, place, test] in rows(&document) {
        let places = quoted(place);
        assert!(!places.is_empty(), "{id} names no place");
        for path in places {
            assert!(root().join(path).is_file(), "{id}: there is no {path}");
        }
        let open = what.contains("** partly: ") || what.contains("** not yet");
        assert_eq!(open, test == NO_TEST, "{id} is open, or has a test");
        for name in quoted(test) {
            assert!(known.contains(name), "{id}: {name} is no test");
        }
        assert!(open || !quoted(test).is_empty(), "{id} names no test");
    }
}

#[test]
fn links_lead_somewhere() {
    for document in ["README.md", "mls/PROTOCOL.md", CONFORMANCE] {
        let folder = root().join(document);
        let folder = folder.parent().unwrap();
        for link in links(&read(document)) {
            assert!(folder.join(link).exists(), "{document}: there is no {link}");
        }
    }
    assert!(!links(&read("README.md")).is_empty());
}

#[test]
fn nothing_points_to_papers_that_are_not_here() {
    // Put together here, so that this file is not found.
    let papers = ["DESIGN", "STYLE", "FACTS", "RFC9750"].map(|name| format!("{name}.md"));
    for (path, content) in files() {
        for paper in &papers {
            let found = content
                .windows(paper.len())
                .any(|window| window == paper.as_bytes());
            assert!(!found, "{} speaks of {paper}", path.display());
        }
    }
}

#[test]
fn tests_are_known_by_their_attribute() {
    let source = "#[test]\nfn one() {}\n\n#[tokio::test(flavor = \"x\")]\nasync fn two() {\n}\n\
                  fn helper() {}\n#[test]\n#[ignore = \"slow\"]\nfn three() {}\n";
    assert_eq!(tests(source), ["one", "two", "three"]);
}
