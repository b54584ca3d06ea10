"""What tests share: doubles at the provider's wire, and the daemon as a real process."""
