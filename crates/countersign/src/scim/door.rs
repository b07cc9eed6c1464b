//! Who may provision: whoever has the token of the configuration.
//!
//! In scope: the token, fetched anew once a minute; refusals, recorded within limits.
//! Invariant: the token opens this interface alone, and nothing else opens it. It has at least
//! [`MIN_TOKEN`] characters; a shorter one lets nobody in. How long a comparison takes says nothing.

use std::{
    path::Path,
    sync::{Arc, Mutex, PoisonError},
};

use axum::{
    extract::FromRequestParts,
    http::{StatusCode, request::Parts},
};
use countersign_core::{canonical::Hash, id::ProviderId};
use countersign_policy::{Provider, target::exec::CredentialSource};

use super::error::ScimError;
use crate::{
    api::{
        Api,
        auth::{bearer, record_refused},
    },
    outbound::FreshSecret,
};

/// The shortest token in characters.
pub(crate) const MIN_TOKEN: usize = 32;

/// A place where the token is fetched.
type Place = (CredentialSource, Arc<FreshSecret>);

/// Where the token is fetched, for as long as the configuration says the same.
#[derive(Clone, Default)]
pub(crate) struct Door(Arc<Mutex<Option<Place>>>);

impl Door {
    fn secret(&self, token: &CredentialSource, config: &Path) -> Arc<FreshSecret> {
        let mut known = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        if let Some((source, secret)) = &*known
            && source == token
        {
            return secret.clone();
        }
        let secret = Arc::new(FreshSecret::of(token, config));
        *known = Some((token.clone(), secret.clone()));
        secret
    }

    /// Whether this is the token.
    ///
    /// # Errors
    /// It can't be fetched, or is too short.
    async fn opens(
        &self,
        source: &CredentialSource,
        config: &Path,
        given: &str,
    ) -> anyhow::Result<bool> {
        let token = self.secret(source, config);
        let token = token.get(|secret| secret.check_header()).await?;
        let token = token.header()?;
        if token.len() < MIN_TOKEN {
            anyhow::bail!("the token has fewer than {MIN_TOKEN} characters; make a longer one");
        }
        Ok(Hash::of(token) == Hash::of(given.as_bytes()))
    }
}

/// The provider who provisions, having proved it.
pub(super) struct Provisioner {
    /// Its name.
    pub(super) id: ProviderId,
    /// Its settings.
    pub(super) provider: Provider,
    /// The address of the interface.
    pub(super) base: String,
}

impl FromRequestParts<Api> for Provisioner {
    type Rejection = ScimError;

    async fn from_request_parts(parts: &mut Parts, api: &Api) -> Result<Self, ScimError> {
        let active = api.gateway.active();
        let Some((id, provider, scim)) = active.bundle.provisioner() else {
            let detail = "nobody provisions people here";
            return Err(ScimError::new(StatusCode::NOT_FOUND, detail));
        };
        let unknown = || {
            let detail = "this needs the token that the gateway is configured with";
            ScimError::new(StatusCode::UNAUTHORIZED, detail)
        };
        let given = bearer(&parts.headers).ok_or_else(unknown)?;
        let opens = api.scim.opens(&scim.token, &api.gateway.config, given);
        match opens.await {
            Ok(true) => {}
            Ok(false) => {
                record_refused(api, "provisioner_refused", None).await;
                return Err(unknown());
            }
            Err(error) => {
                if api.may_record_stranger() {
                    tracing::error!(
                        error = format!("{error:#}"),
                        "nobody can provision: the token of `scim` can't be used"
                    );
                }
                let detail = "the gateway can't compare tokens now";
                return Err(ScimError::new(StatusCode::SERVICE_UNAVAILABLE, detail));
            }
        }
        api.check_rate_of(&format!("provider:{id}"))?;
        Ok(Self {
            id: id.clone(),
            provider: provider.clone(),
            base: format!("{}/scim/v2", api.gateway.url()),
        })
    }
}
