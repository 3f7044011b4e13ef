//! `[page]`: the web page for sales and marketing, and its sessions.

use std::path::{Path, PathBuf};
use std::time::Duration;

use serde::{Deserialize, Serialize};

use super::security::rebase;
use super::source::Span;

/// The web page for sales and marketing, at `/` of the REST port. With `auth.file` people sign in with an API key.
#[derive(Clone, Debug, Deserialize, Serialize)]
#[serde(deny_unknown_fields, default)]
pub struct PageSection {
    /// Serve the page. `false`: `/` leads to `/docs/`, and there are no sessions.
    pub enabled: bool,
    /// Time without a request after which a session ends.
    pub idle: Span,
    /// Time after which a session ends in any case.
    pub session: Span,
    /// File with a secret of at least 32 bytes, the same on every server, from which sessions are sealed. Empty: each
    /// server draws its own when it starts, so that its sessions end with it and no other server knows them.
    pub secret: PathBuf,
    /// Address of a customer in another system, such as `https://crm.example.com/customers/{id}`, with `{id}` where the id
    /// belongs. The page links to it. Empty: no links.
    pub customer_link: String,
}

impl Default for PageSection {
    fn default() -> Self {
        Self {
            enabled: true,
            idle: Span(Duration::from_secs(2 * 3600)),
            session: Span(Duration::from_secs(12 * 3600)),
            secret: PathBuf::new(),
            customer_link: String::new(),
        }
    }
}

impl PageSection {
    pub(super) fn validate(&self) -> Result<(), String> {
        for (key, span) in [("idle", self.idle), ("session", self.session)] {
            if span.0 < Duration::from_secs(60) || span.0 > Duration::from_secs(30 * 86_400) {
                return Err(format!("page.{key}: expected \"1m\" to \"720h\""));
            }
        }
        if self.idle.0 > self.session.0 {
            return Err("page.idle: expected at most page.session".to_owned());
        }
        let link = self.customer_link.as_str();
        let web = link.starts_with("https://") || link.starts_with("http://");
        let plain = !link
            .chars()
            .any(|letter| letter.is_whitespace() || letter.is_control());
        let valid = web && plain && link.matches("{id}").count() == 1;
        if !link.is_empty() && !valid {
            return Err(format!(
                "page.customer_link: expected an address with {{id}} once, such as \
                 \"https://crm.example.com/customers/{{id}}\", found {link:?}"
            ));
        }
        Ok(())
    }

    /// Makes relative paths start at `base`.
    pub(super) fn rebase(&mut self, base: &Path) {
        rebase(&mut self.secret, base);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_link_to_a_customer_is_a_web_address_with_one_place_for_the_id() {
        let checked = |link: &str| {
            let section = PageSection {
                customer_link: link.to_owned(),
                ..PageSection::default()
            };
            section.validate()
        };
        for link in [
            "",
            "https://crm.example.com/c/{id}",
            "http://crm/?c={id}&tab=calls",
        ] {
            assert_eq!(checked(link), Ok(()), "{link}");
        }
        for link in [
            "javascript:alert('{id}')",
            "https://crm.example.com/",
            "https://crm/{id}/{id}",
            "https://crm/ {id}",
            "crm/{id}",
        ] {
            let error = checked(link).unwrap_err();
            assert!(error.contains("such as \"https://crm.example.com"), "{error}");
        }
    }
}
