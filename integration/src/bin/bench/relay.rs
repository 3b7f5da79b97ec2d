//! The bound: TLS, two sockets and nothing else, on one thread.

use std::collections::HashMap;
use std::error::Error;
use std::sync::{Arc, Mutex, PoisonError};

use rustls::ServerConfig;
use rustls::pki_types::pem::PemObject;
use rustls::pki_types::{CertificateDer, PrivateKeyDer};
use tokio::io::{AsyncReadExt, AsyncWriteExt, ReadHalf, WriteHalf};
use tokio::net::{TcpListener, TcpStream};
use tokio_rustls::TlsAcceptor;
use tokio_rustls::server::TlsStream;

type Stream = TlsStream<TcpStream>;
type Waiting = Arc<Mutex<HashMap<Vec<u8>, Stream>>>;

/// Carries octets between every two connections that begin with the same line.
pub(crate) async fn serve(address: &str, chain: &str, key: &str) -> Result<(), Box<dyn Error>> {
    let chain = CertificateDer::pem_file_iter(chain)?.collect::<Result<Vec<_>, _>>()?;
    let tls = ServerConfig::builder()
        .with_no_client_auth()
        .with_single_cert(chain, PrivateKeyDer::from_pem_file(key)?)?;
    let acceptor = TlsAcceptor::from(Arc::new(tls));
    let listener = TcpListener::bind(address).await?;
    let waiting = Waiting::default();
    loop {
        let (tcp, _) = listener.accept().await?;
        let (acceptor, waiting) = (acceptor.clone(), Arc::clone(&waiting));
        tokio::spawn(async move {
            tcp.set_nodelay(true)?;
            let mut stream = acceptor.accept(tcp).await?;
            let mut line = Vec::new();
            while line.last() != Some(&b'\n') {
                line.push(stream.read_u8().await?);
            }
            let mut waiting = waiting.lock().unwrap_or_else(PoisonError::into_inner);
            match waiting.remove(&line) {
                Some(other) => join(stream, other),
                None => drop(waiting.insert(line, stream)),
            }
            Ok::<_, std::io::Error>(())
        });
    }
}

fn join(one: Stream, other: Stream) {
    let (one_read, one_write) = tokio::io::split(one);
    let (other_read, other_write) = tokio::io::split(other);
    tokio::spawn(carry(one_read, other_write));
    tokio::spawn(carry(other_read, one_write));
}

async fn carry(mut from: ReadHalf<Stream>, mut to: WriteHalf<Stream>) -> std::io::Result<()> {
    let mut octets = vec![0; 16 << 10];
    loop {
        let read = from.read(&mut octets).await?;
        if read == 0 {
            return to.shutdown().await;
        }
        to.write_all(&octets[..read]).await?;
        to.flush().await?;
    }
}
