//! The writer of revocation lists, in the few forms of DER that they need.

use super::Entry;
use crate::certificate::{Certificate, issuer_id};
use crate::der;
use crate::issue::{IssueError, Issuer};

const VERSION_2: [u8; 3] = [der::INTEGER, 1, 1];
/// authorityKeyIdentifier and cRLNumber (RFC 5280 §5.2.1, §5.2.3).
const AUTHORITY_KEY: [u8; 5] = [0x06, 3, 0x55, 0x1d, 0x23];
const CRL_NUMBER: [u8; 5] = [0x06, 3, 0x55, 0x1d, 0x14];

/// The list of everything that `issuer` has taken back, signed by it. Times are seconds since 1970.
pub fn make(
    issuer: &Issuer,
    number: u64,
    this_update: u64,
    next_update: u64,
    revoked: &[Entry],
) -> Result<Vec<u8>, IssueError> {
    let authority = Certificate::read(&issuer.certificate)?;
    let mut entries = Vec::with_capacity(revoked.len());
    for entry in revoked {
        let serial = der::tlv(der::INTEGER, &[&entry.serial]);
        entries.push(der::tlv(der::SEQUENCE, &[&serial, &time(entry.at)?]));
    }
    // RFC 5280 §5.1.2.6: absent where nothing is revoked.
    let entries = match entries.is_empty() {
        true => Vec::new(),
        false => der::tlv(der::SEQUENCE, &[&entries.concat()]),
    };
    let key = der::tlv(0x80, &[&issuer_id(&authority.public_key)?.0]);
    let key = extension(&AUTHORITY_KEY, &der::tlv(der::SEQUENCE, &[&key]));
    let number = extension(&CRL_NUMBER, &der::unsigned(number));
    let extensions = der::tlv(0xa0, &[&der::tlv(der::SEQUENCE, &[&key, &number])]);
    let algorithm = issuer.key.algorithm();
    let list = der::tlv(
        der::SEQUENCE,
        &[
            &VERSION_2,
            algorithm.identifier(),
            &authority.subject_name,
            &time(this_update)?,
            &time(next_update)?,
            &entries,
            &extensions,
        ],
    );
    let signature = issuer.key.sign(&list)?;
    Ok(algorithm.signed(&list, &signature))
}

fn extension(oid: &[u8], value: &[u8]) -> Vec<u8> {
    der::tlv(
        der::SEQUENCE,
        &[oid, &der::tlv(der::OCTET_STRING, &[value])],
    )
}

fn time(seconds: u64) -> Result<Vec<u8>, IssueError> {
    der::time(seconds).ok_or(IssueError::Time(seconds))
}
