//! RFC 8555 §8.3: port 80 answers with the proof, for as long as an order needs it.

use std::sync::Arc;
use std::time::Duration;

use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::{TcpListener, TcpStream};
use tokio::sync::Semaphore;

use super::{AcmeError, Answering};
use crate::reflect::listen;

const PORT: u16 = 80;
/// Visitors at a time; who comes beyond waits.
const VISITORS: usize = 32;
const PATIENCE: Duration = Duration::from_secs(10);
/// Octets of a request; nobody needs more to ask for a token.
const REQUEST_LIMIT: usize = 4096;

pub(super) async fn answer(token: &str, proof: &str) -> Result<Answering, AcmeError> {
    let listener = listen(PORT).await;
    let listener = listener.map_err(|why| AcmeError::Port { port: PORT, why })?;
    let page = Arc::new(Page {
        line: format!("GET /.well-known/acme-challenge/{token} HTTP/1."),
        proof: proof.to_owned(),
    });
    Ok(Answering::of(tokio::spawn(serve(listener, page))))
}

struct Page {
    /// How the request for it begins.
    line: String,
    proof: String,
}

async fn serve(listener: TcpListener, page: Arc<Page>) {
    let visitors = Arc::new(Semaphore::new(VISITORS));
    loop {
        let Ok(permit) = Arc::clone(&visitors).acquire_owned().await else {
            return;
        };
        let Ok((stream, _)) = listener.accept().await else {
            tokio::time::sleep(Duration::from_millis(200)).await;
            continue;
        };
        let page = Arc::clone(&page);
        tokio::spawn(async move {
            // Who does not ask in time is not the authority.
            let _ = tokio::time::timeout(PATIENCE, visit(stream, &page)).await;
            drop(permit);
        });
    }
}

async fn visit(mut stream: TcpStream, page: &Page) -> std::io::Result<()> {
    let mut request = Vec::new();
    while !request.windows(4).any(|end| end == b"\r\n\r\n") {
        if request.len() >= REQUEST_LIMIT || stream.read_buf(&mut request).await? == 0 {
            return Ok(());
        }
    }
    let (status, body) = match request.starts_with(page.line.as_bytes()) {
        true => ("200 OK", page.proof.as_str()),
        false => ("404 Not Found", ""),
    };
    let answer = format!(
        "HTTP/1.1 {status}\r\nContent-Type: application/octet-stream\r\n\
         Content-Length: {}\r\nConnection: close\r\n\r\n{body}",
        body.len()
    );
    stream.write_all(answer.as_bytes()).await?;
    stream.shutdown().await
}
