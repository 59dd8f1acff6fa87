//! Allowlist, addresses and spec become a plan: rules, and what could not be honoured. Pure.
