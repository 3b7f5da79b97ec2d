//! `comity reload`

use comity_conf::Conf;

use crate::admin::client::{Client, Error};
use crate::admin::protocol::{Answer, Request};

/// # Errors
/// Why the server has not taken it up.
pub async fn reload(conf: &Conf) -> Result<(), Error> {
    let mut client = Client::connect(&conf.server.data_dir).await?;
    match client.ask(&Request::Reload).await? {
        Answer::Done { what } => println!("{what}"),
        other => return Err(Error::NotUnderstood(format!("{other:?}"))),
    }
    Ok(())
}
