//! The account at the authority: a key, kept for all orders to come.

use std::path::Path;

use instant_acme::{Account, AccountCredentials, NewAccount};

use super::client::Client;
use super::{AcmeError, Settings};
use crate::tls::write_private;

/// The account kept at `settings.account`, made where there is none.
pub(super) async fn open(settings: &Settings, client: Client) -> Result<Account, AcmeError> {
    let path = &settings.account;
    if let Some(credentials) = kept(path)? {
        let builder = Account::builder_with_http(Box::new(client));
        return Ok(builder.from_credentials(credentials).await?);
    }
    let contact: Vec<&str> = settings.contact.iter().map(String::as_str).collect();
    let new = NewAccount {
        contact: &contact,
        terms_of_service_agreed: true,
        only_return_existing: false,
    };
    let (account, credentials) = Account::builder_with_http(Box::new(client))
        .create(&new, settings.directory.clone(), None)
        .await?;
    let bytes = serde_json::to_vec(&credentials).map_err(|error| unusable(path, &error))?;
    write_private(path, &bytes)?;
    Ok(account)
}

fn kept(path: &Path) -> Result<Option<AccountCredentials>, AcmeError> {
    match std::fs::read(path) {
        Ok(bytes) => {
            let read = serde_json::from_slice(&bytes);
            read.map(Some).map_err(|error| unusable(path, &error))
        }
        Err(error) if error.kind() == std::io::ErrorKind::NotFound => Ok(None),
        Err(error) => Err(unusable(path, &error)),
    }
}

fn unusable(path: &Path, why: &dyn std::fmt::Display) -> AcmeError {
    AcmeError::Account {
        path: path.to_owned(),
        why: why.to_string(),
    }
}
