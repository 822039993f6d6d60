export const access = {
  unknown: 'Ihre Rolle ist noch nicht bekannt.',
  role: 'Ihre Rolle ist {role}: dafür ist die Rolle {needed} nötig.',
  scope: 'Sie sehen nur einen Teil der Hosts, und dies betrifft die ganze Flotte.',
}
