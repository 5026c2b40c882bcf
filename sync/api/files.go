package api

// MaxRecords is how many file records one entry may hold.
const MaxRecords = 5000
