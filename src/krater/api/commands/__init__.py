"""What changes the store on a user's behalf. One function is one transaction, and has no effect but on its `Tx`."""
