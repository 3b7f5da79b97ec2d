//! Every dependency may be used under a permissive licence, or one that only asks for its own
//! files' source (MPL).

use std::process::Command;

const ACCEPTED: &[&str] = &[
    "0BSD",
    "Apache-2.0",
    "Apache-2.0 WITH LLVM-exception",
    "BSD-2-Clause",
    "BSD-3-Clause",
    "BSL-1.0",
    "CC0-1.0",
    "CDLA-Permissive-2.0",
    "ISC",
    "MIT",
    "MIT-0",
    "MPL-2.0",
    "Unicode-3.0",
    "Unlicense",
    "Zlib",
];

/// May we use it? An SPDX expression: `OR` (also written `/`) lets us choose, `AND` asks for both.
fn accepted(expression: &str) -> bool {
    let spaced = expression
        .replace('/', " OR ")
        .replace('(', " ( ")
        .replace(')', " ) ");
    let words: Vec<&str> = spaced.split_whitespace().collect();
    let (result, rest) = any(&words);
    result && rest.is_empty()
}

fn any<'a, 'b>(words: &'b [&'a str]) -> (bool, &'b [&'a str]) {
    let (mut result, mut rest) = all(words);
    while let ["OR", more @ ..] = rest {
        let (next, after) = all(more);
        (result, rest) = (result | next, after);
    }
    (result, rest)
}

fn all<'a, 'b>(words: &'b [&'a str]) -> (bool, &'b [&'a str]) {
    let (mut result, mut rest) = one(words);
    while let ["AND", more @ ..] = rest {
        let (next, after) = one(more);
        (result, rest) = (result & next, after);
    }
    (result, rest)
}

fn one<'a, 'b>(words: &'b [&'a str]) -> (bool, &'b [&'a str]) {
    match words {
        ["(", rest @ ..] => match any(rest) {
            (result, [")", rest @ ..]) => (result, rest),
            (_, rest) => (false, rest),
        },
        [licence, "WITH", exception, rest @ ..] => (
            ACCEPTED.contains(&format!("{licence} WITH {exception}").as_str()),
            rest,
        ),
        [licence, rest @ ..] => (ACCEPTED.contains(licence), rest),
        [] => (false, words),
    }
}

#[test]
fn every_dependency_has_an_accepted_licence() {
    let output = Command::new(env!("CARGO"))
        .args(["metadata", "--format-version", "1", "--locked", "--offline"])
        // What other platforms would need is not downloaded here.
        .args(["--filter-platform", env!("HOST")])
        .current_dir(concat!(env!("CARGO_MANIFEST_DIR"), "/.."))
        .output()
        .expect("cargo runs");
    assert!(
        output.status.success(),
        "{}",
        String::from_utf8_lossy(&output.stderr)
    );
    let metadata: serde_json::Value = serde_json::from_slice(&output.stdout).expect("it is JSON");
    let packages = metadata["packages"]
        .as_array()
        .expect("packages are a list");
    assert!(
        packages.len() > 100,
        "the whole graph is listed, not {} packages",
        packages.len()
    );
    let refused: Vec<String> = packages
        .iter()
        .filter(|package| !package["license"].as_str().is_some_and(accepted))
        .map(|package| format!("{} ({})", package["id"], package["license"]))
        .collect();
    assert!(refused.is_empty(), "not accepted:\n{}", refused.join("\n"));
}

#[test]
fn expressions_are_read_as_spdx_writes_them() {
    for good in [
        "MIT",
        "MIT/Apache-2.0",
        "GPL-3.0 OR MIT",
        "(MIT OR GPL-2.0) AND Unicode-3.0",
    ] {
        assert!(accepted(good), "{good}");
    }
    for bad in [
        "",
        "GPL-3.0",
        "MIT AND GPL-3.0",
        "(MIT",
        "MIT)",
        "GPL-3.0 AND (MIT OR ISC)",
    ] {
        assert!(!accepted(bad), "{bad}");
    }
}
