package auth

// Windows tells no permissions by mode: a file belongs to the folder's owner.
const privateModes = false
