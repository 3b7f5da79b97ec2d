//! `integration/quickstart`, as a newcomer runs it.

use std::process::Command;

#[test]
fn its_transcript_ends_with_a_message_decrypted_at_the_other_domain() {
    let output = Command::new(integration::binary("quickstart"))
        .arg("--once")
        .output()
        .unwrap();
    let transcript = String::from_utf8_lossy(&output.stdout);
    assert!(
        output.status.success(),
        "{transcript}{}",
        String::from_utf8_lossy(&output.stderr)
    );
    let decrypted = transcript
        .lines()
        .filter(|line| line.contains("decrypted at"))
        .count();
    assert_eq!(decrypted, 3, "{transcript}");
    assert!(
        transcript.contains("alice@a.localhost → bob@b.localhost"),
        "{transcript}"
    );
}
