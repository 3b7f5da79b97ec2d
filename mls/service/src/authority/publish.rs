//! Our own anchors statement: signed anew every day, and at once when a CA or the TLS chain is new.

use std::sync::{Arc, PoisonError};

use bytes::Bytes;
use comity_mls_credential::anchors::statement::{Der, MAX_HANDOVERS, MAX_LIFETIME_S, VERSION};
use comity_mls_credential::anchors::{Handover, Pinned, Signed, Statement, TlsKey};
use comity_storage::{PublishAnchors, PublishedAnchors};

use super::ca::{Ca, CaError};
use super::{Authority, AuthorityError};

/// How old a statement gets before another follows: peers may miss five of seven.
const RENEW_AFTER_S: u64 = 24 * 60 * 60;
/// Several processes of one domain may publish at once; one of them wins each round.
const ATTEMPTS: usize = 4;

impl Authority {
    /// Our signed statement, for whoever asks.
    #[must_use]
    pub fn statement(&self) -> Bytes {
        self.inner
            .statement
            .read()
            .unwrap_or_else(PoisonError::into_inner)
            .clone()
    }

    /// Takes over what was published, and publishes a successor where one is due.
    pub(super) async fn publish(&self, now: u64) -> Result<(), AuthorityError> {
        let domain = self.domain().to_owned();
        for _ in 0..ATTEMPTS {
            let published = self.inner.storage.published_anchors(&domain).await?;
            let previous = match &published {
                None => None,
                Some(published) => Some(Pinned::own(&published.signed, &[])?),
            };
            let ca = self.ca();
            let tls = self
                .inner
                .tls
                .lock()
                .unwrap_or_else(PoisonError::into_inner)
                .clone();
            if let Some(published) = &published
                && !due(&published.signed, &ca, &tls, now)?
            {
                return self.show(&published.signed, &ca);
            }
            let mut statement = self.next(previous.as_ref(), &ca, now);
            statement.log_head = self.published_head().await?.map(Der);
            let sequence = statement.sequence;
            let signed = match self.sign_statement(statement, tls).await {
                Ok(signed) => signed,
                Err(error) if error.of_token() => {
                    return self.keep(published.as_ref(), &ca, now, error);
                }
                Err(error) => return Err(error),
            };
            let change = PublishAnchors {
                published: PublishedAnchors {
                    domain: domain.clone(),
                    sequence,
                    signed: signed.clone(),
                    issued: now,
                },
                over: previous.as_ref().map(Pinned::sequence),
            };
            if self.inner.storage.write(change).await? {
                return self.show(&signed, &ca);
            }
        }
        Err(AuthorityError::Contended)
    }

    async fn sign_statement(
        &self,
        statement: Statement,
        tls: TlsKey,
    ) -> Result<Vec<u8>, AuthorityError> {
        self.signed(move |ca| match ca.speaker() {
            Some(speaker) => Ok(statement.sign(speaker, &tls)?),
            None => Err(CaError::NothingImported {
                domain: statement.domain,
            }
            .into()),
        })
        .await
    }

    /// The token does not sign: what was published before is good until it expires.
    fn keep(
        &self,
        published: Option<&PublishedAnchors>,
        ca: &Ca,
        now: u64,
        error: AuthorityError,
    ) -> Result<(), AuthorityError> {
        let Some(published) = published else {
            return Err(error);
        };
        let (_, statement) = Signed::read(&published.signed)?;
        if statement.expires <= now {
            return Err(error);
        }
        tracing::error!(
            domain = self.domain(), %error, until = statement.expires,
            "no anchors are signed: those from before are shown until they expire"
        );
        self.show(&published.signed, ca)
    }

    fn next(&self, previous: Option<&Pinned>, ca: &Ca, now: u64) -> Statement {
        let lifetime = self.inner.options.anchors_lifetime_s.min(MAX_LIFETIME_S);
        Statement {
            version: VERSION,
            domain: self.domain().to_owned(),
            // Over a database that was restored from an old copy, too, it has to be more than what
            // others have seen: no more than one statement is made in a second.
            sequence: previous.map_or(now, |known| now.max(known.sequence().saturating_add(1))),
            issued: now,
            expires: now.saturating_add(lifetime),
            predecessor: previous.map(|previous| *previous.hash()),
            root: Der(ca.root().certificate.clone()),
            issuing: ca.listed(now).map(|der| Der(der.to_vec())).collect(),
            handovers: latest(&ca.root().handovers),
            log_head: None,
        }
    }

    fn show(&self, signed: &[u8], ca: &Ca) -> Result<(), AuthorityError> {
        let own = Pinned::own(signed, &ca.ever())?;
        self.inner.trust.anchors.hold(Arc::new(own));
        *self
            .inner
            .statement
            .write()
            .unwrap_or_else(PoisonError::into_inner) = Bytes::copy_from_slice(signed);
        Ok(())
    }
}

/// Those that a statement has room for: the last.
fn latest(handovers: &[Handover]) -> Vec<Handover> {
    handovers[handovers.len().saturating_sub(MAX_HANDOVERS)..].to_vec()
}

/// Is it time for a successor? Also where the clock went back behind the statement's issue, since
/// peers would not believe it before then.
fn due(signed: &[u8], ca: &Ca, tls: &TlsKey, now: u64) -> Result<bool, AuthorityError> {
    let (signed, statement) = Signed::read(signed)?;
    let old = now >= statement.issued.saturating_add(RENEW_AFTER_S) || now < statement.issued;
    let same = statement.root.0 == ca.root().certificate
        && statement
            .issuing
            .iter()
            .map(|der| &der.0[..])
            .eq(ca.listed(now))
        && signed.tls.chain == tls.chain();
    Ok(old || !same)
}
