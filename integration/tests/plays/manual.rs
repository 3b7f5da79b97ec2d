//! The operator's manual, carried out: each command of each page, in its order, and each piece of a
//! configuration read.

use std::fs;
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};

/// The pages that begin with a domain that runs.
const PAGES: [&str; 8] = [
    "deploy", "federate", "clients", "mls", "backup", "upgrade", "tuning", "security",
];
/// Seconds that a page may take.
const LIMIT: &str = "180";

/// What a person's shell has: the program, a service manager for it, and patience.
const SHELL: &str = r#"
set -euo pipefail
comity() {
    case "$1" in
        serve)
            command comity "$@" >>log 2>&1 &
            echo $! >pid
            until command comity stats --config homeserver.toml >/dev/null 2>&1; do
                kill -0 "$(cat pid)" || { cat log >&2; return 1; }
                sleep 0.1
            done ;;
        check)
            # Nothing is outside of this network: what is found is not what counts here.
            local status=0
            command comity "$@" --time-server 127.0.0.1 >/dev/null || status=$?
            [ "$status" -le 2 ] ;;
        *) command comity "$@" ;;
    esac
}
systemctl() {
    case "$1" in
        start) comity serve --config homeserver.toml ;;
        stop) kill "$(cat pid)"; wait "$(cat pid)" || true ;;
        restart) systemctl stop; systemctl start ;;
        reload) kill -HUP "$(cat pid)" ;;
        *) echo "systemctl $1 is not known to this shell" >&2; return 1 ;;
    esac
}
trap 'kill "$(cat pid)" 2>/dev/null || true' EXIT
"#;

fn page(name: &str) -> String {
    let path = Path::new(env!("CARGO_MANIFEST_DIR")).join(format!("../server/docs/{name}.md"));
    fs::read_to_string(&path).unwrap_or_else(|error| panic!("{}: {error}", path.display()))
}

/// What stands between fences of this kind.
fn blocks(page: &str, kind: &str) -> Vec<String> {
    let mut found = Vec::new();
    let mut open: Option<(bool, String)> = None;
    for line in page.lines() {
        match (line.strip_prefix("```"), &mut open) {
            (Some(word), None) => open = Some((word == kind, String::new())),
            (Some(_), Some((wanted, text))) => {
                if *wanted {
                    found.push(std::mem::take(text));
                }
                open = None;
            }
            (None, Some((_, text))) => {
                text.push_str(line);
                text.push('\n');
            }
            (None, None) => {}
        }
    }
    assert!(open.is_none(), "a fence is not closed");
    found
}

fn folder(name: &str) -> PathBuf {
    let folder = std::env::temp_dir().join(format!("comity-manual-{}-{name}", std::process::id()));
    let _ = fs::remove_dir_all(&folder);
    fs::create_dir_all(&folder).unwrap();
    folder
}

/// Carries the page's commands out; what they print.
fn carry_out(name: &str) -> String {
    let folder = folder(name);
    let commands = blocks(&page(name), "sh");
    assert!(!commands.is_empty(), "{name} has no commands");
    let mut script = SHELL.to_owned();
    if name != "deploy" {
        script.push_str(
            "comity init a.example --output homeserver.toml --data-dir data >/dev/null\n\
             comity serve --config homeserver.toml\nset -x\n",
        );
    }
    script.push_str(&commands.concat());
    fs::write(folder.join("script"), script).unwrap();
    let programs = integration::binary("comity");
    let programs = programs.parent().unwrap().display().to_string();
    let path = std::env::var("PATH").unwrap_or_default();
    let done = Command::new("timeout")
        .args([LIMIT, "bash", "script"])
        .current_dir(&folder)
        .env("PATH", format!("{programs}:{path}"))
        .env("NO_COLOR", "1")
        .stdin(Stdio::null())
        .output()
        .unwrap();
    let [out, error] = [done.stdout, done.stderr].map(|t| String::from_utf8_lossy(&t).into_owned());
    let log = fs::read_to_string(folder.join("log")).unwrap_or_default();
    assert!(
        done.status.success(),
        "{name}: {}\n{out}{error}\n{log}",
        done.status
    );
    fs::remove_dir_all(&folder).unwrap();
    out
}

#[test]
fn every_command_of_the_manual_does_what_it_says() {
    integration::network::alone().unwrap();
    for name in PAGES {
        let said = carry_out(name);
        let expected = match name {
            "deploy" => "Wrote homeserver.toml",
            "federate" => "spam.example is blocked no longer",
            "clients" => "created alice@a.example",
            "mls" => "a.example",
            "backup" => "imported admin@a.example",
            "upgrade" => "comity ",
            "tuning" => "comity_info",
            _ => "700",
        };
        assert!(
            said.contains(expected),
            "{name} did not say {expected:?}:\n{said}"
        );
    }
}

#[test]
fn every_piece_of_a_configuration_in_the_manual_is_read() {
    let folder = folder("pieces");
    let mut count = 0;
    for name in PAGES.iter().chain(&["logs"]) {
        for piece in blocks(&page(name), "toml") {
            count += 1;
            let file = folder.join(format!("{name}-{count}.toml"));
            fs::write(&file, &piece).unwrap();
            let asked = Command::new(integration::binary("comity"))
                .args(["stats", "--config"])
                .arg(&file)
                .output()
                .unwrap();
            let said = String::from_utf8_lossy(&asked.stderr);
            // It was read: only the server is missing.
            assert!(
                said.contains("no server is running"),
                "{name}: {said}\n{piece}"
            );
        }
    }
    assert!(count >= 10, "only {count} pieces");
    fs::remove_dir_all(&folder).unwrap();
}

#[test]
fn every_page_is_in_the_table_of_contents_and_links_lead_somewhere() {
    let docs = Path::new(env!("CARGO_MANIFEST_DIR")).join("../server/docs");
    let contents = page("README");
    for entry in fs::read_dir(&docs).unwrap() {
        let name = entry.unwrap().file_name().into_string().unwrap();
        if name.ends_with(".md") && name != "README.md" {
            assert!(
                contents.contains(&format!("({name})")),
                "{name} is not listed"
            );
            let text = page(name.trim_end_matches(".md"));
            for link in text
                .split("](")
                .skip(1)
                .filter_map(|rest| rest.split_once(')'))
            {
                let target = link.0;
                let file = target.split('#').next().unwrap_or(target);
                assert!(
                    target.contains("://") || docs.join(file).exists(),
                    "{name}: there is no {target}"
                );
            }
        }
    }
}

#[test]
fn fences_are_told_apart() {
    let text = "a\n```sh\none\n```\n```toml\ntwo\n```\n```sh\nthree\nfour\n```\n";
    assert_eq!(blocks(text, "sh"), ["one\n", "three\nfour\n"]);
    assert_eq!(blocks(text, "toml"), ["two\n"]);
}
