//! The other end of the admin socket.

use std::io;
use std::path::{Path, PathBuf};

use tokio::io::{AsyncBufReadExt, AsyncReadExt, AsyncWriteExt, BufReader};
use tokio::net::UnixStream;

use super::protocol::{self, Answer, LINE_LIMIT, Request};

#[derive(Debug, thiserror::Error)]
pub enum Error {
    #[error(
        "no server is running on {}: start it with `comity serve`, with the same --config ({source})",
        data_dir.display()
    )]
    NotRunning {
        data_dir: PathBuf,
        source: io::Error,
    },
    #[error("the server did not answer: {0}")]
    Broken(#[from] io::Error),
    #[error("the server answered something else ({0}): is it of the same version?")]
    NotUnderstood(String),
    #[error("{0}")]
    Refused(String),
}

/// A connection to the server of a data directory.
pub struct Client(BufReader<UnixStream>);

impl Client {
    pub async fn connect(data_dir: &Path) -> Result<Self, Error> {
        let stream = UnixStream::connect(super::socket(data_dir))
            .await
            .map_err(|source| Error::NotRunning {
                data_dir: data_dir.to_owned(),
                source,
            })?;
        Ok(Self(BufReader::new(stream)))
    }

    /// # Errors
    /// [`Error::Refused`] with the server's reason, or why there was no answer.
    pub async fn ask(&mut self, request: &Request) -> Result<Answer, Error> {
        self.0.write_all(&protocol::write(request)).await?;
        let mut line = Vec::new();
        let mut limited = (&mut self.0).take(LINE_LIMIT);
        if limited.read_until(b'\n', &mut line).await? == 0 {
            return Err(io::Error::from(io::ErrorKind::UnexpectedEof).into());
        }
        match protocol::read(&line).map_err(Error::NotUnderstood)? {
            Answer::Refused { why } => Err(Error::Refused(why)),
            answer => Ok(answer),
        }
    }
}
