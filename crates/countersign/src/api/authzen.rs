//! OpenID AuthZEN Authorization API 1.0 and its Access Request and Approval Profile.
use axum::Router;

use super::Api;

/// The routes.
pub fn routes() -> Router<Api> {
    Router::new()
}
