//! The dashboard, embedded in the binary by `build.rs`.

use super::state::ApiState;
use crate::http::{Body, Failure, Reply, Request, Response, negotiation};

/// The page loads nothing from elsewhere, runs nothing inline and is framed by nobody.
const CONTENT_SECURITY_POLICY: &str = "\
    default-src 'self'; style-src 'self'; script-src 'self'; connect-src 'self'; \
    img-src 'self' data:; base-uri 'none'; frame-ancestors 'none'; form-action 'self'";

/// One file of the dashboard.
struct Asset {
    /// Its path without a leading slash.
    path: &'static str,
    content_type: &'static str,
    etag: &'static str,
    bytes: &'static [u8],
    gzip: &'static [u8],
}

include!(concat!(env!("OUT_DIR"), "/assets.rs"));

/// Whether the dashboard has a file at this path; `/` is its page.
pub(super) fn exists(path: &[&str]) -> bool {
    find(path).is_some()
}

/// The file at the request's path.
pub(super) fn serve(_: &ApiState, request: &mut Request) -> Result<Reply, Failure> {
    let asset = find(&request.path())
        .ok_or_else(|| Failure::internal("the route found an asset"))?;
    let identity = Response {
        status: 200,
        headers: headers(asset),
        body: Body::Static(asset.bytes),
    };

    if negotiation::has_current(request, asset.etag) {
        return Ok(Reply::Now(Response {
            status: 304,
            ..identity
        }));
    }

    if negotiation::takes_gzip(request) && asset.gzip.len() < asset.bytes.len() {
        let compressed = Response {
            body: Body::Static(asset.gzip),
            ..identity
        };
        return Ok(Reply::Now(
            compressed.with_header("Content-Encoding", "gzip"),
        ));
    }

    Ok(Reply::Now(identity))
}

fn find(path: &[&str]) -> Option<&'static Asset> {
    let path = if path == [""] {
        "index.html".to_owned()
    } else {
        path.join("/")
    };
    ASSETS.iter().find(|asset| asset.path == path)
}

fn headers(asset: &Asset) -> Vec<(&'static str, String)> {
    // Vite puts a hash of the content into every name below assets/.
    let cache = if asset.path.starts_with("assets/") {
        "public, max-age=31536000, immutable"
    } else {
        "no-cache"
    };
    let policy = CONTENT_SECURITY_POLICY;

    vec![
        ("Content-Type", asset.content_type.to_owned()),
        ("Cache-Control", cache.to_owned()),
        ("ETag", asset.etag.to_owned()),
        ("Vary", "Accept-Encoding".to_owned()),
        ("Content-Security-Policy", policy.to_owned()),
        ("Referrer-Policy", "no-referrer".to_owned()),
    ]
}
