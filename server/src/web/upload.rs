//! Files that people have uploaded (XEP-0363), at `/upload/ID/NAME`: put there once by whom
//! [`crate::module::http_upload`] has promised the place, read by everybody who knows it.

use std::io::SeekFrom;

use comity_net::http::{Body, Method, PieceSender, Response, StatusCode, explain, header, status};
use comity_storage::{StoreUpload, Upload};
use tokio::io::{AsyncReadExt as _, AsyncSeekExt as _};

use super::{Later, Path, Route, Visit, readable_by_all};
use crate::home::Home;
use crate::module::http_upload::{BELOW, OPEN_MS, escape};
use crate::uploads::{Unreceived, hex, unhex};

pub(super) const GET: Route = route(Method::GET, |visit| Box::pin(get(visit)));
pub(super) const PUT: Route = route(Method::PUT, |visit| Box::pin(put(visit)));
pub(super) const OPTIONS: Route = route(Method::OPTIONS, options);

const fn route(method: Method, handle: fn(Visit) -> Later<Response>) -> Route {
    Route {
        method,
        path: Path::Below(BELOW),
        handle,
        link: None,
    }
}

/// Whether the body of such a request comes in pieces.
pub(super) fn takes_pieces(method: &Method, path: &str) -> bool {
    *method == Method::PUT && path.starts_with(BELOW)
}

/// Octets read from the disk at a time.
const PIECE: usize = 64 * 1024;
/// What a browser shows is a picture, a sound, a text, and never a program, whatever its sender says.
const POLICY: &str = "default-src 'none'; img-src 'self'; media-src 'self'; sandbox";

/// Pages of web clients send and read files: what they know they may.
fn options(_: Visit) -> Later<Response> {
    let mut response = status(StatusCode::NO_CONTENT);
    for (name, value) in [
        (header::ALLOW, "GET, HEAD, PUT, OPTIONS"),
        (
            header::ACCESS_CONTROL_ALLOW_METHODS,
            "GET, HEAD, PUT, OPTIONS",
        ),
        (header::ACCESS_CONTROL_ALLOW_HEADERS, "content-type, range"),
        (header::ACCESS_CONTROL_MAX_AGE, "7200"),
    ] {
        let value = header::HeaderValue::from_static(value);
        response.headers_mut().insert(name, value);
    }
    Box::pin(std::future::ready(readable_by_all(response)))
}

async fn put(mut visit: Visit) -> Response {
    let answer = match take_in(&mut visit).await {
        Ok(()) => status(StatusCode::CREATED),
        Err((code, why)) => {
            let mut refusal = explain(code, why);
            // What is left of the body is not worth reading.
            let close = header::HeaderValue::from_static("close");
            refusal.headers_mut().insert(header::CONNECTION, close);
            refusal
        }
    };
    readable_by_all(answer)
}

type Refused = (StatusCode, String);

/// Answers when the file is durable, and known to be.
async fn take_in(visit: &mut Visit) -> Result<(), Refused> {
    let home = visit.home.clone();
    let gone = || {
        let why = "there is no such place, or no longer: ask for another";
        (StatusCode::NOT_FOUND, why.to_owned())
    };
    let upload = find(&home, &visit.rest).await?.ok_or_else(gone)?;
    if upload.stored.is_some() {
        let why = "there is a file here already: ask for another place".to_owned();
        return Err((StatusCode::CONFLICT, why));
    }
    if upload.promised.saturating_add(OPEN_MS) < home.now_ms() {
        return Err(gone());
    }
    let pieces = visit.request.pieces.as_mut().ok_or_else(gone)?;
    match pieces.octets() {
        Some(octets) if octets == upload.size => {}
        Some(octets) => {
            let why = format!(
                "{} octets were promised and {octets} are announced: ask for another place",
                upload.size
            );
            return Err((StatusCode::PAYLOAD_TOO_LARGE, why));
        }
        None => {
            let why = "say how many octets come: Content-Length".to_owned();
            return Err((StatusCode::LENGTH_REQUIRED, why));
        }
    }
    let received = home.uploads.receive(&upload.id, upload.size, pieces).await;
    received.map_err(refused)?;
    let store = StoreUpload {
        id: upload.id,
        now: home.now_ms(),
    };
    match home.storage.write(store).await {
        Ok(true) => Ok(()),
        // It took so long that the place is over.
        Ok(false) => {
            home.uploads.remove(&upload.id).await;
            Err(gone())
        }
        Err(error) => Err(failed(&error)),
    }
}

fn refused(why: Unreceived) -> Refused {
    let code = match &why {
        Unreceived::Busy => StatusCode::CONFLICT,
        Unreceived::Crowded => StatusCode::SERVICE_UNAVAILABLE,
        Unreceived::BrokeOff | Unreceived::Size(_) => StatusCode::BAD_REQUEST,
        Unreceived::Slow => StatusCode::REQUEST_TIMEOUT,
        Unreceived::Disk(error) => {
            tracing::error!(%error, "an uploaded file cannot be kept");
            let why = "the server cannot keep it now: try again later".to_owned();
            return (StatusCode::INSUFFICIENT_STORAGE, why);
        }
    };
    (code, why.to_string())
}

fn failed(error: &comity_storage::Error) -> Refused {
    crate::fault::log(error, "an uploaded file cannot be looked up or noted");
    let why = "try again later".to_owned();
    (StatusCode::INTERNAL_SERVER_ERROR, why)
}

/// What is, or shall be, at this place.
async fn find(home: &Home, rest: &str) -> Result<Option<Upload>, Refused> {
    let Some((id, name)) = rest.split_once('/') else {
        return Ok(None);
    };
    let Some(id) = unhex(id) else {
        return Ok(None);
    };
    let found = home.storage.upload(&id).await.map_err(|e| failed(&e))?;
    // Nobody gives another's file another name.
    Ok(found.filter(|upload| escape(&upload.name) == name))
}

async fn get(visit: Visit) -> Response {
    readable_by_all(match read(&visit).await {
        Ok(response) => response,
        Err((code, why)) => explain(code, why),
    })
}

async fn read(visit: &Visit) -> Result<Response, Refused> {
    let home = &visit.home;
    let gone = || {
        let why = "there is no such file here, or no longer";
        (StatusCode::NOT_FOUND, why.to_owned())
    };
    let upload = find(home, &visit.rest).await?.ok_or_else(gone)?;
    let kept = u64::try_from(home.uploads.rules.retention.as_millis()).unwrap_or(u64::MAX);
    let stored = upload.stored.ok_or_else(gone)?;
    let left = stored.saturating_add(kept).saturating_sub(home.now_ms());
    if left == 0 {
        return Err(gone());
    }
    let tag = format!("\"{}\"", hex(&upload.id));
    let part = match part(visit, &tag, upload.size) {
        Part::Whole => None,
        Part::Of(first, last) => Some((first, last)),
        Part::None => {
            let range = format!("bytes */{}", upload.size);
            let mut response = explain(
                StatusCode::RANGE_NOT_SATISFIABLE,
                format!("the file has {} octets", upload.size),
            );
            set(&mut response, header::CONTENT_RANGE, &range);
            return Ok(response);
        }
    };
    let (first, last) = part.unwrap_or((0, upload.size.saturating_sub(1)));
    let octets = last - first + 1;
    let mut response = match visit.request.method == Method::HEAD {
        true => status(StatusCode::OK),
        false => {
            let file = home.uploads.open(&upload.id).await.map_err(|error| {
                tracing::warn!(%error, "an uploaded file cannot be read");
                gone()
            })?;
            let (sender, body) = Body::pieces(octets);
            tokio::spawn(send(home.clone(), file, (first, octets), sender));
            Response::new(body)
        }
    };
    if let Some((first, last)) = part {
        *response.status_mut() = StatusCode::PARTIAL_CONTENT;
        let range = format!("bytes {first}-{last}/{}", upload.size);
        set(&mut response, header::CONTENT_RANGE, &range);
    }
    set(&mut response, header::CONTENT_LENGTH, &octets.to_string());
    set(&mut response, header::ETAG, &tag);
    let age = format!("private, max-age={}", left / 1000);
    set(&mut response, header::CACHE_CONTROL, &age);
    describe(&mut response, &upload.media_type);
    Ok(response)
}

/// What it is, and that it is no page of ours.
fn describe(response: &mut Response, media_type: &str) {
    let shown = ["image/", "audio/", "video/", "text/plain"];
    let shown = shown.iter().any(|start| media_type.starts_with(start));
    let shown = shown && !media_type.starts_with("image/svg");
    let disposition = if shown { "inline" } else { "attachment" };
    set(response, header::CONTENT_TYPE, media_type);
    set(response, header::CONTENT_DISPOSITION, disposition);
    set(response, header::CONTENT_SECURITY_POLICY, POLICY);
    set(response, header::ACCEPT_RANGES, "bytes");
}

fn set(response: &mut Response, name: header::HeaderName, value: &str) {
    if let Ok(value) = header::HeaderValue::from_str(value) {
        response.headers_mut().insert(name, value);
    }
}

/// What is wanted of a file (RFC 9110 §14.2): one range; several are answered with the whole.
#[derive(Debug, PartialEq, Eq)]
enum Part {
    Whole,
    /// From and to, both included.
    Of(u64, u64),
    None,
}

fn part(visit: &Visit, tag: &str, size: u64) -> Part {
    let request = &visit.request;
    // RFC 9110 §13.1.5: a part of another file is of no use.
    let same = request
        .header(header::IF_RANGE)
        .is_none_or(|named| named == tag);
    match request.header(header::RANGE) {
        Some(range) if same && request.method == Method::GET => range_of(range, size),
        _ => Part::Whole,
    }
}

fn range_of(range: &str, size: u64) -> Part {
    let Some((from, to)) = range
        .strip_prefix("bytes=")
        .and_then(|range| range.trim().split_once('-'))
    else {
        return Part::Whole;
    };
    let last = size.saturating_sub(1);
    match (from.parse::<u64>(), to.parse::<u64>()) {
        (Ok(from), _) if from >= size => Part::None,
        (Ok(from), Ok(to)) if to < from => Part::Whole,
        (Ok(from), Ok(to)) => Part::Of(from, to.min(last)),
        (Ok(from), Err(_)) if to.is_empty() => Part::Of(from, last),
        (Err(_), Ok(0)) if from.is_empty() => Part::None,
        (Err(_), Ok(end)) if from.is_empty() => Part::Of(size.saturating_sub(end), last),
        _ => Part::Whole,
    }
}

/// Ends when all is sent, or nobody reads any more.
async fn send(home: Home, mut file: tokio::fs::File, (first, octets): (u64, u64), to: PieceSender) {
    let mut left = octets;
    if let Err(error) = file.seek(SeekFrom::Start(first)).await {
        let _ = to.send(Err(error)).await;
        return;
    }
    while left > 0 {
        let most = usize::try_from(left).unwrap_or(PIECE).min(PIECE);
        let mut piece = vec![0; most];
        let read = file.read(&mut piece).await;
        let read = match read {
            // Somebody has cut it short: the visitor is to know that it is not whole.
            Ok(0) => return,
            Ok(read) => read,
            Err(error) => {
                let _ = to.send(Err(error)).await;
                return;
            }
        };
        piece.truncate(read);
        left -= read as u64;
        home.uploads.sent.add(read);
        if to.send(Ok(piece.into())).await.is_err() {
            return;
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_range_is_one_range() {
        for (range, part) in [
            ("bytes=0-", Part::Of(0, 9)),
            ("bytes=2-4", Part::Of(2, 4)),
            ("bytes=2-99", Part::Of(2, 9)),
            ("bytes=-3", Part::Of(7, 9)),
            ("bytes=-30", Part::Of(0, 9)),
            ("bytes=10-", Part::None),
            ("bytes=-0", Part::None),
            ("bytes=4-2", Part::Whole),
            ("bytes=0-1,3-4", Part::Whole),
            ("bytes=a-b", Part::Whole),
            ("lines=0-1", Part::Whole),
            ("", Part::Whole),
        ] {
            assert_eq!(range_of(range, 10), part, "{range}");
        }
    }
}
