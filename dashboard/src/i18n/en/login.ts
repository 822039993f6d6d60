export const login = {
  busy: 'Logging in …',
  code: 'Code of your second factor, or a recovery code',
  ended: 'Your session has ended. Log in again.',
  limited: 'Too many attempts. Try again in {seconds} s.',
  limitedMinute: 'Too many attempts. Try again in a minute.',
  password: 'Password',
  submit: 'Log in',
  username: 'User name',
  wrong: 'Wrong user name or password.',
  wrongCode: 'Wrong user name, password or code, or a code that was used before.',
}
