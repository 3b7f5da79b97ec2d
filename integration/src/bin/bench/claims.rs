//! KeyPackages handed out, one by one, to several who ask at once. Each leaves the directory for
//! good before the answer goes out (RFC 9750 §5.1).

use std::error::Error;
use std::time::{Duration, Instant};

use integration::crowd::CrowdDevice;
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::task::JoinSet;

use crate::Extent;
use crate::client::{Client, Counter};
use crate::contender::DOMAIN;
use crate::ground::Ground;

pub(crate) const NAME: &str = "KeyPackages claimed";
/// For each second of the server's CPU.
pub(crate) const WANTED: f64 = 10_000.0;
const DEVICES: usize = 200;
/// Of each of them.
const PACKAGES: usize = 100;
const ASKERS: usize = 32;
/// Questions of each that are on their way.
const IN_FLIGHT: usize = 4;
const ROOM: &str = "~aaaaaaaaaaaaaaaaaaaaaaaaaa@bench.example";

pub(crate) struct Outcome {
    pub(crate) per_cpu_second: f64,
    pub(crate) per_second: f64,
}

pub(crate) async fn run(extent: Extent) -> Result<Outcome, Box<dyn Error>> {
    let mut ground = Ground::lay("claims")?;
    let devices = ground
        .stocked("target", extent.of(DEVICES), extent.of(PACKAGES))
        .await?;
    let door = ground.door()?;
    let mut askers = Vec::with_capacity(ASKERS);
    for n in 0..extent.of(ASKERS) {
        let name = format!("asker{n}");
        ground.account(&name)?;
        let questions: Vec<String> = (0..extent.of(PACKAGES))
            .flat_map(|_| devices.iter().skip(n).step_by(extent.of(ASKERS)))
            .map(question)
            .collect();
        askers.push((Client::enter(&door, &name, "bench").await?, questions));
    }
    let (cpu, started) = (ground.cpu()?, Instant::now());
    let mut tasks = JoinSet::new();
    for (client, questions) in askers {
        tasks.spawn(ask(client, questions));
    }
    while let Some(asked) = tasks.join_next().await {
        asked??;
    }
    let taken = started.elapsed();
    let cpu = (ground.cpu()? - cpu).max(Duration::from_millis(10));
    let claimed = (devices.len() * extent.of(PACKAGES)) as f64;
    Ok(Outcome {
        per_cpu_second: claimed / cpu.as_secs_f64(),
        per_second: claimed / taken.as_secs_f64(),
    })
}

fn question(device: &CrowdDevice) -> String {
    let (to, id) = (&device.account, device.id);
    format!(
        "<iq type='set' id='claim' to='{to}'><claim xmlns='urn:xmpp:mls:0:keys' room='{ROOM}'>\
         <suite id='2'/><device id='{id}'/></claim></iq>"
    )
}

async fn ask(client: Client, questions: Vec<String>) -> std::io::Result<()> {
    let mut stream = client.into_stream();
    let mut packages = Counter::of(b"<package");
    let mut answers = Counter::of(b"</iq>");
    let mut octets = vec![0; 16 << 10];
    let (mut asked, mut answered, mut given) = (0, 0, 0);
    while answered < questions.len() {
        let more = (answered + IN_FLIGHT).min(questions.len());
        if asked < more {
            let text = questions[asked..more].concat();
            asked = more;
            stream.write_all(text.as_bytes()).await?;
            stream.flush().await?;
        }
        let read = stream.read(&mut octets).await?;
        if read == 0 {
            break;
        }
        given += packages.count(&octets[..read]);
        answered += answers.count(&octets[..read]);
    }
    if given != questions.len() {
        let wanted = questions.len();
        let why = format!("{given} KeyPackages of {wanted} were given, to {DOMAIN}");
        return Err(std::io::Error::other(why));
    }
    Ok(())
}
