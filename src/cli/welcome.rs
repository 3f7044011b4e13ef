//! What `evergreen serve` prints once it serves. It names no customer: standard output may be kept as a log.

use std::net::SocketAddr;

use super::{BOLD, GREEN, YELLOW, human_bytes, thousands};
use crate::app::App;
use crate::scoring::LiveSet;
use crate::server::Addresses;

/// Says what was loaded and the addresses, with a command to try.
pub(super) fn welcome_text(app: &App, addresses: Addresses) -> String {
    let live = app.scorer.live();
    let mut lines = vec![format!("{BOLD}Evergreen{BOLD:#} {}", env!("CARGO_PKG_VERSION"))];
    lines.extend(models(&live));
    lines.extend(customers(&live));
    let Addresses { http, grpc, ops } = addresses;
    let scheme = if app.config.tls.is_on() { "https" } else { "http" };
    lines.push(format!(
        "  REST        {scheme}://{http}      docs: {scheme}://{}/docs",
        client_address(http)
    ));
    lines.push(format!("  gRPC        {grpc}"));
    lines.push(format!("  operations  http://{ops}      /livez /readyz /metrics"));
    let reasons = app.why_not_ready().into_iter();
    lines.extend(reasons.map(|reason| format!("  {YELLOW}not ready:{YELLOW:#} {reason}")));
    lines.extend(request(app, &live, http));
    lines.join("\n") + "\n"
}

fn models(live: &LiveSet) -> impl Iterator<Item = String> {
    live.models().map(|(name, entry)| {
        let Some(servable) = &entry.live else {
            return format!(
                "  model       {YELLOW}{name}: no version may go live{YELLOW:#}; run evergreen check for the reason"
            );
        };
        let (version, summary) = (servable.model.version, servable.model.forest.summary());
        let noun = if summary.trees == 1 { "tree" } else { "trees" };
        format!(
            "  model       {GREEN}{name}{GREEN:#} version {version}: {}, {} {noun}",
            summary.objective,
            thousands(summary.trees)
        )
    })
}

fn customers(live: &LiveSet) -> Option<String> {
    let snapshot = live.snapshot.as_ref()?;
    let (rows, ids) = snapshot.size_bytes();
    Some(format!(
        "  customers   {} from {} ({} in memory)",
        thousands(snapshot.len()),
        snapshot.path().display(),
        human_bytes(rows + ids)
    ))
}

/// A request to try, for an id of the reader's choice.
fn request(app: &App, live: &LiveSet, http: SocketAddr) -> Option<String> {
    let has_features = |servable: &std::sync::Arc<crate::scoring::Servable>| servable.plan.is_some();
    let (name, _) = live
        .models()
        .find(|(_, entry)| entry.live.as_ref().is_some_and(has_features))?;
    live.snapshot.as_ref()?;
    let scheme = if app.config.tls.is_on() { "https://" } else { "" };
    let key = if app.config.auth.is_on() {
        "-H 'Authorization: Bearer KEY' "
    } else {
        ""
    };
    Some(format!(
        "\nTry, with a customer's id in place of ID:  curl {key}'{scheme}{}/v1/models/{name}/scores/ID?explain=3'\n",
        client_address(http)
    ))
}

/// Returns the address that a local client uses.
fn client_address(address: SocketAddr) -> String {
    if address.ip().is_unspecified() {
        format!("localhost:{}", address.port())
    } else {
        address.to_string()
    }
}
