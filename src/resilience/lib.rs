//! Pure building blocks for retries and overload; time and randomness are arguments.
